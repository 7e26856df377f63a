"""``tamis profile``: run a model on frames step by step, and say where the time goes."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from celery.bin.base import CeleryCommand
from rich.console import Console
from rich.progress import MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from tasks.cli.profiling.elsewhere import fetch_profile
from tasks.cli.profiling.options import profile_options, read_options
from tasks.cli.profiling.tables import comparison_table, print_opening, print_result, say, workers_table
from tasks.cli.terminal.usage import clear_errors, open_console, settings

if TYPE_CHECKING:  # this module is loaded where torch must not be
    from inference.profiling.options import ProfileOptions
    from inference.profiling.report.advice import Tried
    from inference.profiling.run import ProfileResult


@click.command(cls=CeleryCommand)
@profile_options
@click.option(
    "--output-dir",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path(),
    help="Where the CSV files and the report go; default: here.",
)
@click.option(
    "--config",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="A YAML file of several workers: each alone, then all at once. Other options are not read then.",
)
@click.option("--on", "queue", metavar="gpu.NODE", help="Run it on a GPU worker of that node; files come back here.")
@click.option("--advise", is_flag=True, help="Try the changes that could help, and say what each brings.")
@click.option(
    "--compare",
    metavar="SUMMARY",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="The …_summary.json of an earlier run to compare with.",
)
@clear_errors
def profile(
    output_dir: Path, config: Path | None, queue: str | None, advise: bool, compare: Path | None, **given: Any
) -> None:
    """Profile a model: read, prepare, transfer and run frames step by step, and say which stage is the limit.

    Writes M_<model>_P_<pid>_metrics.csv, _details.csv, _summary.json and _report.html; docs/profiling.md explains them.
    """
    if config is not None:
        profile_workers(config, output_dir, open_console())
    elif queue is not None:
        fetch_profile(read_options(given, is_here=False), queue, output_dir, open_console())
    else:
        profile_here(read_options(given), output_dir, is_advising=advise, earlier=compare)


def profile_here(options: ProfileOptions, output_dir: Path, *, is_advising: bool, earlier: Path | None) -> None:
    """Profile in this process, with a progress bar."""
    from inference.profiling.options import bind_cores
    from inference.profiling.report.stored import load
    from inference.profiling.run import run_profile
    from inference.profiling.trace.tracing import nsys_command

    before = load(earlier) if earlier else None
    bind_cores(options.core_bind)
    console = open_console()
    print_opening(options, console)
    if options.trace == "nvtx":
        say(console, f"record it with: {nsys_command(shlex.join(['tamis', *sys.argv[1:]]), options.model_name)}")
    columns = (TextColumn("{task.description}"), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        bar = progress.add_task("steps", total=options.warmup_steps + options.max_steps * options.repeats)
        result = run_profile(options, output_dir, lambda _step: progress.advance(bar))
    print_result(result, console)
    conclude(result, output_dir, console, is_advising=is_advising and not result.is_interrupted, earlier=before)
    if result.is_interrupted:
        raise SystemExit(130)


def profile_workers(config: Path, output_dir: Path, console: Console) -> None:
    """Profile the workers of a file, and print them in one table."""
    from inference.profiling.workers import read_config, run_workers

    cores = sorted(os.sched_getaffinity(0))
    workers = read_config(config, cores, settings().models.manifest)
    results = run_workers(workers, output_dir, lambda line: say(console, line))
    console.print(workers_table(results))
    say(console, f"written: {output_dir / 'workers.csv'}, and each worker's files below alone/ and together/")


def conclude(
    result: ProfileResult, directory: Path, console: Console, *, is_advising: bool, earlier: Mapping[str, Any] | None
) -> None:
    """Store the summary; print first calls, advice and comparison; write the report."""
    from inference.profiling.figures.first_calls import explain, runtime_of
    from inference.profiling.report import stored
    from inference.profiling.report.report import write_report

    stored.store(result, directory)
    slow = explain(result.summary.first_calls, runtime_of(result.options))
    for one in slow:
        say(console, f"first call at {one.call.size} px was slow: {'; '.join(one.causes)}")
        say(console, f"  remedy: {'; '.join(one.remedies)}")
    tried = try_changes(result, console) if is_advising else []
    comparison = stored.compare(earlier, result) if earlier else None
    if comparison is not None:
        console.print(comparison_table(comparison))
    page = write_report(result, directory, tried=tried, slow_first_calls=slow, comparison=comparison)
    if result.trace_path is not None:
        say(console, f"trace: {result.trace_path}, for https://ui.perfetto.dev or, of memory, pytorch.org/memory_viz")
    say(console, f"written: {directory / result.stem}_metrics.csv, _details.csv, _summary.json; {page}")


def try_changes(result: ProfileResult, console: Console) -> list[Tried]:
    """Try what could help, and print each change as it is tried."""
    from inference.profiling.report.advice import advise

    tried = []
    for trial in advise(result.options, result.verdict.bound):
        say(console, f"tried {trial}")
        tried.append(trial)
    if not tried:
        say(console, f"no flag helps a run that is {result.verdict.bound.value} and has those that could")
    return tried
