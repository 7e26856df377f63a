"""Watchdog: it ends a process in which a task hangs, because a thread cannot be stopped from outside.

The other tasks of the process return to their queues too. So the hard deadline is meant for bugs; downloads, decoding
and inference have their own, shorter limits.
"""

from __future__ import annotations

import faulthandler
import sys
from typing import TYPE_CHECKING

from celery import bootsteps

from tasks.worker.config import WorkerConfig, wiring_of
from tasks.worker.requests import Stopwatch, has_started, live_requests
from tasks.worker.stop import leave
from tasks.worker.ticker import EX_SOFTWARE, start_ticker

if TYPE_CHECKING:
    from celery.worker.worker import WorkController

TICK_SECONDS = 0.5

RunKey = tuple[str, float]  # id and start: a message that is delivered again has the same id and another start


def overdue(config: WorkerConfig, stopwatch: Stopwatch[RunKey]) -> str | None:
    """Return a message about the first task past its hard deadline, or None.

    A running task is identified by its id and its start. Not by ``id(request)``: a busy worker puts the next request at
    the address of the last one, so a series of short tasks would look like one task that never ends.
    """
    running = {(request.id, request.time_start): request for request in live_requests() if has_started(request)}
    for key, age_seconds in stopwatch.ages(running).items():
        if age_seconds >= config.hard_deadline_seconds:
            request = running[key]
            return (
                f"task {request.type}[{request.id}] runs past its hard deadline of {config.hard_deadline_seconds:g} s"
            )
    return None


def restart_freeze_timer(frozen_seconds: float) -> None:
    """End the process with status 1 unless called again within ``frozen_seconds``.

    C code that hangs while it holds the GIL stops every Python thread, this watchdog too. faulthandler's timer is a C
    thread and needs no GIL. No message is returned then: the broker delivers them again after their visibility timeout.
    """
    faulthandler.dump_traceback_later(frozen_seconds, exit=True, file=sys.__stderr__ or sys.stderr)


class Watchdog(bootsteps.StartStopStep):
    """Checks tasks twice a second from the end of the warm-up until the process ends, during a drain too."""

    requires = ("tasks.worker.warmup:WarmUp",)

    def start(self, parent: WorkController) -> None:
        """Start the checking thread."""
        config = wiring_of(parent.app).config
        stopwatch: Stopwatch[RunKey] = Stopwatch()

        def tick() -> None:
            restart_freeze_timer(config.frozen_seconds)
            reason = overdue(config, stopwatch)
            if reason is not None:
                # sys.stderr is Celery's logging proxy here: it has no file number
                faulthandler.dump_traceback(file=sys.__stderr__ or sys.stderr, all_threads=True)
                leave(parent, EX_SOFTWARE, reason)

        restart_freeze_timer(config.frozen_seconds)  # before the first message
        start_ticker("watchdog", TICK_SECONDS, tick)

    def stop(self, parent: WorkController) -> None:
        """Keep checking: a hung task would block the drain for ever."""

    terminate = stop
