"""``tamis sift``: submit or resume a run, and watch it."""

from __future__ import annotations

from contextlib import closing

import click
from rich.console import Console

from inference.manifest import load_manifest
from storage.ledger import Counts, Ledger, Run
from tasks.cli.summary import print_summary
from tasks.cli.switches import SwitchedCommand, switched_on
from tasks.cli.usage import clear_errors, open_console, open_ledger, settings
from tasks.cli.watch import watch
from tasks.resources.tables import open_output
from tasks.submit import prepare, submit


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
@clear_errors
def sift(tables: str, outputs: str, wait: bool, **switches: bool) -> None:
    """Submit or resume a run, and watch it until it is complete.

    The same input, output and switches give the same run: rows that are in the output are not computed again.
    """
    enabled = switched_on(switches)
    console = open_console()
    chosen = settings()
    request = prepare(tables, outputs, enabled, load_manifest(chosen.models.manifest))
    for notice in request.notices:
        console.print(notice, style="yellow", markup=False, highlight=False, soft_wrap=True)
    ledger = open_ledger()
    submission = submit(request, chosen.flow.shard_rows, ledger)
    run = submission.run
    console.print(_opening(run, is_new=submission.is_new), highlight=False, soft_wrap=True)
    if not wait:
        console.print(f"watch it with: tamis runs {run.run_id}", highlight=False, soft_wrap=True)
        return
    conclude(run, ledger, console)


def conclude(run: Run, ledger: Ledger, console: Console) -> None:
    """Watch the run until it is complete and print its summary. Ctrl-C stops the watching, not the run."""
    try:
        counts = watch(run.run_id, ledger, console)
    except KeyboardInterrupt:
        console.print(
            f"\nstopped watching; run {run.run_id} is not lost. The same `tamis sift` command resumes it "
            f"(a fleet must be up: `tamis up`); `tamis runs {run.run_id}` shows its progress.",
            highlight=False,
            soft_wrap=True,
        )
        raise SystemExit(130) from None
    summarize(run, counts, console)


def summarize(run: Run, counts: Counts, console: Console) -> None:
    """Print the summary from the output table itself."""
    with closing(open_output(run.spec.outputs)) as table:
        print_summary(table.results(run.run_id), counts, run.spec.outputs, console)


def _opening(run: Run, *, is_new: bool) -> str:
    if run.is_complete:
        return f"run {run.run_id} is complete: {run.total_rows} rows are in the output, nothing to do"
    return f"run {run.run_id} {'started' if is_new else 'resumed'}: {run.total_rows} rows of {run.spec.tables}"
