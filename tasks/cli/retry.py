"""``tamis retry``: the failed rows of a run again, and only those."""

from __future__ import annotations

import secrets
from contextlib import closing

import click
from celery.bin.base import CeleryCommand

from storage.ledger import Ledger, Run
from storage.tables.open import open_output
from tasks.app import app
from tasks.cli.sift import conclude
from tasks.cli.usage import OneLine, clear_errors, open_console, open_ledger
from tasks.queues import TaskName
from tasks.submit import failed_rows


@click.command(cls=CeleryCommand)
@click.argument("run_id")
@click.option(
    "--reason",
    metavar="CODE",
    help="Only rows that failed with this code, for example object_missing; default: all failed rows.",
)
@click.option(
    "--wait/--no-wait", default=True, show_default=True, help="Watch until every row is written, or return at once."
)
@clear_errors
def retry(run_id: str, reason: str | None, wait: bool) -> None:
    """Do the failed rows of a run again; their new results replace the old ones."""
    ledger, console = open_ledger(), open_console()
    run = ledger.find(run_id)
    rows = reopen(run, reason, ledger)
    if not rows:
        what = f"with reason {reason}" if reason else "at all"
        counts = ledger.counts(run.run_id)
        reasons = ", ".join(sorted(counts.failures)) if counts and counts.failures else "none"
        raise OneLine(f"no row of run {run.run_id} failed {what}; reasons there are: {reasons}")
    app.send_task(TaskName.FEED, (run.run_id,))
    console.print(f"run {run.run_id}: {rows} failed rows are tried again", highlight=False, soft_wrap=True)
    if wait:
        conclude(run, ledger, console)


def reopen(run: Run, reason: str | None, ledger: Ledger) -> int:
    """Take the failed rows back into flight; return how many."""
    rows = 0
    with closing(open_output(run.spec.outputs)) as table:
        for failures in failed_rows(run, table, reason):
            rows += ledger.open_retry(run.run_id, secrets.token_hex(4), failures)
    return rows
