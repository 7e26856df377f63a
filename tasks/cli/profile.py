"""``tamis profile``: run a model on frames step by step, and say where the time goes."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from celery.bin.base import CeleryCommand
from rich.console import Console
from rich.progress import MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from tasks.cli.profiling.options import profile_options, read_options
from tasks.cli.profiling.tables import comparison_table, print_opening, print_result, say
from tasks.cli.usage import clear_errors, open_console

if TYPE_CHECKING:  # this module is loaded where torch must not be
    from inference.profiling.run import ProfileResult


@click.command(cls=CeleryCommand)
@profile_options
@click.option(
    "--output-dir",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path(),
    help="Where the CSV files and the report go; default: here.",
)
@click.option("--advise", is_flag=True, help="Try the changes that could help, and say what each brings.")
@click.option(
    "--compare",
    metavar="SUMMARY",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="The …_summary.json of an earlier run to compare with.",
)
@clear_errors
def profile(output_dir: Path, advise: bool, compare: Path | None, **given: Any) -> None:
    """Profile a model: read, prepare, transfer and run frames step by step, and say which stage is the limit.

    Writes M_<model>_P_<pid>_metrics.csv, _details.csv, _summary.json and _report.html; docs/profiling.md explains them.
    """
    from inference.profiling.options import bind_cores
    from inference.profiling.run import run_profile
    from inference.profiling.tracing import nsys_command

    options = read_options(given)
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
    conclude(result, output_dir, console, is_advising=advise and not result.is_interrupted, earlier=compare)
    if result.is_interrupted:
        raise SystemExit(130)


def conclude(
    result: ProfileResult, directory: Path, console: Console, *, is_advising: bool, earlier: Path | None
) -> None:
    """Print first calls, advice and comparison; write the summary and the report."""
    from inference.profiling import stored
    from inference.profiling.advice import advise
    from inference.profiling.first_calls import explain, runtime_of
    from inference.profiling.report import write_report

    slow = explain(result.summary.first_calls, runtime_of(result.options))
    for one in slow:
        say(console, f"first call at {one.call.size} px was slow: {'; '.join(one.causes)}")
        say(console, f"  remedy: {'; '.join(one.remedies)}")
    tried = []
    for trial in advise(result.options, result.verdict.bound) if is_advising else ():
        say(console, f"tried {trial}")
        tried.append(trial)
    comparison = stored.compare(stored.load(earlier), result) if earlier else None
    if comparison is not None:
        console.print(comparison_table(comparison))
    stored.store(result, directory)
    page = write_report(result, directory, tried=tried, slow_first_calls=slow, comparison=comparison)
    if result.trace_path is not None:
        say(
            console,
            f"trace: {result.trace_path} (open it in https://ui.perfetto.dev, or memory in pytorch.org/memory_viz)",
        )
    say(console, f"written: {directory / result.stem}_metrics.csv, _details.csv, _summary.json; {page}")
