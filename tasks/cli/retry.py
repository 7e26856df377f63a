"""``tamis retry``: do the failed rows of a run again, and only those."""

from __future__ import annotations

import click
from celery.bin.base import CeleryCommand

from storage.ledger import Ledger, Run, RunOrder
from tasks.cli.run.conclude import conclude
from tasks.cli.terminal.data_table import print_line
from tasks.cli.terminal.report import json_option, print_json
from tasks.cli.terminal.usage import OneLine, clear_errors, open_console, open_ledger, open_progress_console
from tasks.submit import reopen, wake_feeder


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
@json_option
@clear_errors
def retry(run_id: str, reason: str | None, wait: bool, is_json: bool) -> None:
    """Do the failed rows of a run again; their new results replace the old ones.

    Exit status: as that of `tamis sift`; 2 also if no row failed so.
    """
    ledger, console, progress = open_ledger(), open_console(), open_progress_console()
    run = ledger.find(run_id)
    if run.order is RunOrder.CANCELLED and not run.is_complete:
        raise OneLine(f"run {run.run_id} was cancelled: submit it again, and retry when it is complete")
    found, reopened = reopen(run, reason, ledger)
    if not reopened:
        raise OneLine(why_none(run, reason, found, ledger))
    wake_feeder(run.run_id)
    print_line(progress if is_json else console, f"run {run.run_id}: {reopened} failed rows are tried again")
    if found > reopened:
        rest = f"{found - reopened} more failed rows are still in flight, or not seen again since Redis was wiped"
        print_line(progress, f"{rest}: retry when the run is complete", style="yellow")
    if wait:
        conclude(run, ledger, is_json=is_json)
    elif is_json:
        print_json({"run": run.run_id, "tried_again": reopened, "left": found - reopened})


def why_none(run: Run, reason: str | None, found: int, ledger: Ledger) -> str:
    """Return why no row was reopened: none failed with the reason, or the run is still being fed."""
    what = f"with reason {reason}" if reason else "at all"
    counts = ledger.counts(run.run_id)
    if counts is not None and not run.is_complete:
        has_failed = f"{found} of its rows failed" if found else f"no row has failed {what} yet"
        progress = f"{counts.fed} of {counts.rows} rows fed, {counts.in_flight} in flight"
        return f"run {run.run_id} is still being fed ({progress}): {has_failed}; retry when it is complete"
    reasons = ", ".join(sorted(counts.failures)) if counts and counts.failures else "none"
    return f"no row of run {run.run_id} failed {what}; the reasons of its failures: {reasons}"
