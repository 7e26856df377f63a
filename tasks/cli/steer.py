"""``tamis pause``, ``tamis resume`` and ``tamis cancel``: orders to a run, kept in the ledger."""

from __future__ import annotations

import time

import click
from celery.bin.base import CeleryCommand

from storage.ledger import Counts, Ledger, Run, RunOrder, WorkerReports
from tasks.cli.run.progress import reconcile_line
from tasks.cli.run.waiting import worker_reasons
from tasks.cli.terminal.data_table import print_line
from tasks.cli.terminal.report import json_option, print_json
from tasks.cli.terminal.usage import (
    OneLine,
    clear_errors,
    open_console,
    open_ledger,
    open_progress_console,
    settings,
)
from tasks.resources.redis import ledger_client
from tasks.submit import wake_feeder

POLL_SECONDS = 1.0
SILENCE_POLLS = 5  # before a cancellation that does not end says why


@click.command(cls=CeleryCommand)
@click.argument("run_id")
@json_option
@clear_errors
def pause(run_id: str, is_json: bool) -> None:
    """Begin no more rows of a run until `tamis resume`. Rows in work end; full shards are written; other runs go on.

    The order is kept in the ledger: it outlasts every worker and every command. RUN_ID may be shortened.
    """
    ledger = open_ledger()
    run = _found_open(run_id, ledger)
    if ledger.orders.pause(run.run_id) is RunOrder.CANCELLED:
        raise OneLine(f"run {run.run_id} was cancelled: nothing of it is begun any more")
    _report(run, f"run {run.run_id} is paused; `tamis resume {run.run_id}` lets it go on", ledger, is_json=is_json)


@click.command(cls=CeleryCommand)
@click.argument("run_id")
@json_option
@clear_errors
def resume(run_id: str, is_json: bool) -> None:
    """Let a paused run go on. RUN_ID may be shortened."""
    ledger = open_ledger()
    run = _found_open(run_id, ledger)
    if ledger.orders.resume(run.run_id) is RunOrder.CANCELLED:
        raise OneLine(f"run {run.run_id} was cancelled: submit it again to judge its other rows")
    wake_feeder(run.run_id)
    _report(run, f"run {run.run_id} goes on", ledger, is_json=is_json)


@click.command(cls=CeleryCommand)
@click.argument("run_id")
@click.option(
    "--wait/--no-wait",
    default=True,
    show_default=True,
    help="Wait until what was judged is written, or return at once.",
)
@json_option
@clear_errors
def cancel(run_id: str, wait: bool, is_json: bool) -> None:
    """End a run early. Rows in work end and are written; the others get no result. RUN_ID may be shortened.

    Submitting the run again with the same command judges the rows that have no result. Ctrl-C ends the waiting only.
    """
    ledger = open_ledger()
    run = _found_open(run_id, ledger)
    ledger.orders.cancel(run.run_id)
    if wait:
        try:
            _wait_until_written(run, ledger)
        except KeyboardInterrupt:
            raise SystemExit(130) from None
    else:
        wake_feeder(run.run_id)
    _report(run, f"run {run.run_id} is cancelled; submitting it again judges the other rows", ledger, is_json=is_json)


def _found_open(run_id: str, ledger: Ledger) -> Run:
    run = ledger.find(run_id)
    if run.is_complete:
        raise OneLine(f"run {run.run_id} is complete: there is nothing to pause, to resume or to cancel")
    return run


def _wait_until_written(run: Run, ledger: Ledger) -> None:
    """Wake the feeder, which ends the shards, until none is open; say why that takes long."""
    progress, polls = open_progress_console(), 0
    while _counts(run, ledger).open_shards:
        wake_feeder(run.run_id)
        polls += 1
        if polls == SILENCE_POLLS:
            print_line(progress, "waiting for rows in work, and until the shards are written", style="yellow")
            for reason in worker_reasons(ledger, WorkerReports(ledger_client(settings())), settings()):
                print_line(progress, reason, style="yellow")
        time.sleep(POLL_SECONDS)


def _counts(run: Run, ledger: Ledger) -> Counts:
    counts = ledger.counts(run.run_id)
    if counts is None:
        raise OneLine(f"run {run.run_id} was deleted just now: submit it again")
    return counts


def _report(run: Run, text: str, ledger: Ledger, *, is_json: bool) -> None:
    counts = _counts(run, ledger)
    if is_json:
        order = ledger.orders.of(run.run_id)
        print_json(
            {
                "run": run.run_id,
                "state": order.value or "open",
                "ok": counts.ok,
                "failed": counts.failed,
                "without_result": counts.in_flight,
                "open_shards": counts.open_shards,
            }
        )
        return
    console = open_console()
    print_line(console, text)
    print_line(console, reconcile_line(counts, is_cancelled=ledger.orders.of(run.run_id) is RunOrder.CANCELLED))
