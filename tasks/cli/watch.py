"""``tamis watch``: a run's live page."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime

import click
from celery.bin.base import CeleryCommand
from rich.console import Console
from rich.live import Live

from storage.errors import Unavailable
from storage.ledger import Ledger, WorkerReports
from tasks.celery import app
from tasks.cli.run.live import line, page
from tasks.cli.run.waiting import WaitReason, wait_reasons
from tasks.cli.terminal.data_table import print_line
from tasks.cli.terminal.report import json_option, print_json
from tasks.cli.terminal.usage import clear_errors, open_console, open_ledger, settings
from tasks.resources.redis import ledger_client
from tasks.runs.status import RunStatus, WorkerWork, status_of, work_of_workers

POLL_SECONDS = 1.0
LINE_SECONDS = 5.0  # between lines where there is no terminal
WORKERS_SECONDS = 5.0  # between questions to the workers
SILENCE_SECONDS = 5.0  # without progress, before reasons are looked for

Seen = tuple[RunStatus | None, Sequence[WaitReason]]


@click.command(cls=CeleryCommand)
@click.argument("run_id")
@json_option
@clear_errors
def watch(run_id: str, is_json: bool) -> None:
    """Show a run until it ends: rate, time left, where the time goes, tiers, failures, workers, and why it waits.

    On a terminal the page is drawn again every second; elsewhere a line, or with --json a document, every 5 s. Ctrl-C
    ends the watching only. RUN_ID may be shortened.
    """
    ledger = open_ledger()
    run, console = ledger.find(run_id), open_console()
    reports = WorkerReports(ledger_client(settings()))
    seen = follow(
        run.run_id,
        ledger,
        lambda: work_of_workers(run.run_id, app),
        lambda is_silent: wait_reasons(run.run_id, ledger, reports, settings(), is_silent=is_silent),
    )
    try:
        if console.is_terminal and not console.is_dumb_terminal and not is_json:
            _draw(seen, console)
        else:
            _print(seen, console, is_json=is_json)
    except KeyboardInterrupt:
        raise SystemExit(130) from None


def follow(
    run_id: str,
    ledger: Ledger,
    ask_workers: Callable[[], tuple[WorkerWork, ...]],
    reasons_of: Callable[[bool], list[WaitReason]],
    *,
    now: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], object] = time.sleep,
) -> Iterator[Seen]:
    """Yield the run's status, and why it waits, until it is over.

    A broker that does not answer, and a ledger that lost the run, are reasons: both may come back.
    """
    workers: tuple[WorkerWork, ...] = ()
    status: RunStatus | None = None
    asked_at, last_done, moved_at = float("-inf"), -1, now()
    while True:
        if now() - asked_at >= WORKERS_SECONDS:
            workers, asked_at = ask_workers(), now()
        try:
            found = status_of(run_id, ledger, datetime.now(UTC), workers)
            status = found or status
            done = found.counts.ok + found.counts.failed if found else last_done
            last_done, moved_at = done, now() if done != last_done else moved_at
            is_over = found is not None and found.is_over
            reasons = [] if is_over else reasons_of(now() - moved_at > SILENCE_SECONDS) if found else [_lost(run_id)]
        except Unavailable as error:
            is_over, reasons = False, [_no_broker(error)]
        yield status, reasons
        if is_over:
            return
        sleep(POLL_SECONDS)


def _draw(seen: Iterator[Seen], console: Console) -> None:
    with Live(console=console, auto_refresh=False) as live:
        for status, reasons in seen:
            if status is not None:
                live.update(page(status, reasons), refresh=True)


def _print(seen: Iterator[Seen], console: Console, *, is_json: bool) -> None:
    """Print the status every few seconds and at the end, and reasons when they change."""
    printed_at, told = float("-inf"), frozenset[str]()
    for status, reasons in seen:
        keys = frozenset(reason.key for reason in reasons)
        if status is not None and (status.is_over or time.monotonic() - printed_at >= LINE_SECONDS or keys != told):
            printed_at = time.monotonic()
            if is_json:
                print_json({**status.to_json(), "reasons": [str(reason) for reason in reasons]})
            else:
                print_line(console, line(status))
        if not is_json:
            for reason in reasons:
                if reason.key not in told:
                    print_line(console, reason, style="yellow")
        told = keys


def _lost(run_id: str) -> WaitReason:
    text = f"run {run_id} is not in the ledger any more (was Redis wiped?)"
    return WaitReason("lost", text, "submit it again to continue from the output")


def _no_broker(error: Unavailable) -> WaitReason:
    text = f"the broker does not answer ({str(error).rstrip('.')})"
    return WaitReason("broker", text, "nothing is lost; the run continues once it is back")
