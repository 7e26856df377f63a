"""``tamis profile``: run a model on frames step by step, and say where the time goes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
from celery.bin.base import CeleryCommand
from rich.progress import MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from tasks.cli.profiling.options import profile_options, read_options
from tasks.cli.profiling.tables import print_opening, print_result
from tasks.cli.usage import clear_errors, open_console


@click.command(cls=CeleryCommand)
@profile_options
@click.option(
    "--output-dir",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path(),
    help="Where the CSV files and the report go; default: here.",
)
@clear_errors
def profile(output_dir: Path, **given: Any) -> None:
    """Profile a model: read, prepare, transfer and run frames step by step, and say which stage is the limit.

    Writes M_<model>_P_<pid>_metrics.csv, and the rest of the figures to …_details.csv. docs/profiling.md explains them.
    """
    from inference.profiling.options import bind_cores
    from inference.profiling.run import run_profile

    options = read_options(given)
    bind_cores(options.core_bind)
    console = open_console()
    print_opening(options, console)
    columns = (TextColumn("{task.description}"), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        bar = progress.add_task("steps", total=options.warmup_steps + options.max_steps * options.repeats)
        result = run_profile(options, output_dir, lambda _step: progress.advance(bar))
    print_result(result, console)
    written = output_dir / f"{result.stem}_metrics.csv"
    console.print(f"written: {written}, …_details.csv", soft_wrap=True, highlight=False, markup=False)
    if result.is_interrupted:
        raise SystemExit(130)
