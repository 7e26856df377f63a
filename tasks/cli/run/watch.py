"""Watch a run until it is complete. A run that waits says why, and so does one whose broker is gone."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress

from rich.console import Console

from storage.errors import Unavailable
from storage.ledger import Counts, Ledger, RunOrder, WorkerReports
from tasks.cli.run.progress import Times, show
from tasks.cli.run.waiting import WaitReason, wait_reasons
from tasks.cli.terminal.data_table import print_line
from tasks.cli.terminal.usage import OneLine
from tasks.estimate.forecast import RowTimes
from tasks.estimate.running import row_times
from tasks.resources.redis import ledger_client
from tasks.settings import Settings

POLL_SECONDS = 0.5
TIMES_SECONDS = 5.0  # between reads of the times of rows
SILENCE_SECONDS = 5.0  # without progress, before reasons are looked for


def watch(run_id: str, ledger: Ledger, settings: Settings, console: Console) -> Counts:
    """Show the run's progress until every row is written; return the last counts."""
    reports = WorkerReports(ledger_client(settings))
    return show(observations(run_id, ledger, reports, settings, console), console, _recent_times(run_id, ledger))


def _recent_times(run_id: str, ledger: Ledger, now: Callable[[], float] = time.monotonic) -> Times:
    """Return a function that returns the times of the run's rows, read again every :data:`TIMES_SECONDS`."""
    read_at, times = float("-inf"), None

    def recent() -> RowTimes | None:
        nonlocal read_at, times
        if now() - read_at >= TIMES_SECONDS:
            with suppress(Unavailable):  # the watching goes on without news
                times = row_times(ledger.figures.of(run_id))
            read_at = now()
        return times

    return recent


def observations(
    run_id: str,
    ledger: Ledger,
    reports: WorkerReports,
    settings: Settings,
    console: Console,
    *,
    now: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], object] = time.sleep,
) -> Iterator[Counts]:
    """Yield the run's counts until it is complete; print why it waits, and once that it continues.

    A broker that does not answer is asked again, for as long as it takes: nothing is lost by it.
    """
    notice, last_done, moved_seconds = _Notice(console), -1, now()
    while True:
        try:
            run, counts = ledger.run(run_id), ledger.counts(run_id)
            if run is None or counts is None:
                raise OneLine(
                    f"run {run_id} is not in the ledger (was Redis wiped?): submit it again to continue from the output"
                )
            done = counts.ok + counts.failed
            if done != last_done:
                last_done, moved_seconds = done, now()
            is_silent = now() - moved_seconds > SILENCE_SECONDS
            reasons = [] if run.is_complete else wait_reasons(run_id, ledger, reports, settings, is_silent=is_silent)
        except Unavailable as error:
            notice.show([_broker_gone(error)])
        else:
            notice.show(reasons)
            yield counts
            if run.is_complete or (run.order is RunOrder.CANCELLED and not counts.open_shards):
                return
        sleep(POLL_SECONDS)


def _broker_gone(error: Unavailable) -> WaitReason:
    text = f"the broker does not answer ({str(error).rstrip('.')})"
    return WaitReason("broker", text, "nothing is lost; the run continues once the fleet is up again: `tamis up`")


class _Notice:
    """Prints reasons when they change, and one line when there are none any more."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._shown: frozenset[str] = frozenset()

    def show(self, reasons: Sequence[WaitReason]) -> None:
        present = frozenset(reason.key for reason in reasons)
        for reason in reasons:
            if reason.key not in self._shown:
                print_line(self._console, reason, style="yellow")
        if self._shown and not present:
            print_line(self._console, "the wait is over: the run continues", style="yellow")
        self._shown = present
