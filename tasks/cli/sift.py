"""``tamis sift``: submit or resume a run, and watch it."""

from __future__ import annotations

import time
from contextlib import closing

import click

from inference.manifest import load_manifest
from storage.ledger import Counts, Ledger, Run, RunOrder
from tasks.cli.run.progress import clock
from tasks.cli.run.summary import UNTRAINED, RunSummary, print_summary
from tasks.cli.run.watch import watch
from tasks.cli.terminal.data_table import print_line
from tasks.cli.terminal.switches import SwitchedCommand, switched_on
from tasks.cli.terminal.usage import clear_errors, open_console, open_ledger, open_progress_console, settings
from tasks.resources.tables import open_output
from tasks.submit import prepare, submit

EX_ALL_FAILED = 3  # the run is complete, and every row of it failed
EX_INTERRUPTED = 130


@click.command(cls=SwitchedCommand)
@click.option(
    "--tables",
    required=True,
    metavar="URL",
    help="Input: odps://PROJECT/TABLE/ds=DAY, sqlite:///FILE.db#TABLE/ds=DAY, or a .jsonl, .csv or .parquet file.",
)
@click.option(
    "--outputs",
    required=True,
    metavar="URL",
    help="Output: odps://PROJECT/TABLE/ds=DAY or sqlite:///FILE.db#TABLE/ds=DAY; created when missing.",
)
@click.option(
    "--wait/--no-wait", default=True, show_default=True, help="Watch until every row is written, or return at once."
)
@click.option(
    "--flat-columns",
    "has_flat_columns",
    is_flag=True,
    help="Add plain columns to the output: run, status, error_code, keep, drop_reason, decided_by, facts of the video.",
)
@clear_errors
def sift(tables: str, outputs: str, wait: bool, has_flat_columns: bool, **switches: bool) -> None:
    """Submit or resume a run, and watch it until it is complete.

    The same input, output and switches give the same run: rows that are in the output are not computed again.

    Exit status: 0 if the run is complete (or with --no-wait, submitted), 2 for a mistake, 3 if every row failed, 130
    if Ctrl-C ended the watching, or the run was cancelled meanwhile.
    """
    enabled, chosen = switched_on(switches), settings()
    console, progress = open_console(), open_progress_console()
    manifest = load_manifest(chosen.models.manifest)
    request = prepare(tables, outputs, enabled, manifest, has_flat_columns=has_flat_columns)
    for notice in request.notices:
        print_line(progress, notice, style="yellow")
    ledger = open_ledger()
    submission = submit(request, chosen.flow.shard_rows, ledger)
    run = submission.run
    print_line(console, _opening(run, is_new=submission.is_new))
    if wait:
        conclude(run, ledger)
        return
    print_line(console, f"watch it with: tamis runs {run.run_id}")
    if manifest.is_untrained:
        print_line(progress, UNTRAINED, style="yellow")


def conclude(run: Run, ledger: Ledger) -> None:
    """Watch the run until it is complete and print its summary. Ctrl-C stops the watching, not the run.

    Raises:
        SystemExit: with status 3 if every row failed, 130 after Ctrl-C or a cancellation.
    """
    started, progress = time.monotonic(), open_progress_console()
    try:
        counts = watch(run.run_id, ledger, settings(), progress)
    except KeyboardInterrupt:
        print_line(
            progress,
            f"stopped watching; run {run.run_id} is not lost. The same `tamis sift` command resumes it "
            f"(a fleet must be up: `tamis up`); `tamis runs {run.run_id}` shows its progress.",
        )
        raise SystemExit(EX_INTERRUPTED) from None
    if ledger.orders.of(run.run_id) is RunOrder.CANCELLED:
        print_line(progress, f"cancelled by an operator: {counts.in_flight} rows have no result", style="yellow")
        raise SystemExit(EX_INTERRUPTED)
    if not run.is_complete:
        print_line(progress, f"complete after {clock(time.monotonic() - started)}")
    summarize(run, counts)
    if counts.rows and counts.failed == counts.rows:
        raise SystemExit(EX_ALL_FAILED)


def summarize(run: Run, counts: Counts) -> None:
    """Print the summary from the output table itself."""
    console, manifest = open_console(), load_manifest(settings().models.manifest)
    with closing(open_output(run.spec.outputs)) as table:
        summary = RunSummary.of(table.results(run.run_id))
    print_summary(summary, counts, manifest, run.run_id, console)
    print_line(console, f"output: {run.spec.outputs}")


def _opening(run: Run, *, is_new: bool) -> str:
    if run.is_complete:
        return f"run {run.run_id} is complete: {run.total_rows} rows are in the output, nothing to do"
    return f"run {run.run_id} {'started' if is_new else 'resumed'}: {run.total_rows} rows of {run.spec.tables}"
