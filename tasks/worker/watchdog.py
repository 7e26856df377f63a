"""Ends a process in which a task hangs: threads have no time limits, and nothing can stop one from outside.

Its innocent neighbours go back to their queues with it, so the hard deadline is for bugs; expected slowness has
limits of its own further in.
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

RunKey = tuple[str, float]  # a redelivered copy has its id, and a start of its own


def overdue(config: WorkerConfig, stopwatch: Stopwatch[RunKey]) -> str | None:
    """Return what to say about the first task past its hard deadline, or None.

    A run is known by its task's id and its start. Not by ``id(request)``: in a busy worker the next request is put
    where the last one lay, so short tasks one after another would pass for a single one that never ends.
    """
    running = {(request.id, request.time_start): request for request in live_requests() if has_started(request)}
    for key, age in stopwatch.ages(running).items():
        request = running[key]
        deadline = config.hard_deadline_seconds(request.type)
        if age >= deadline:
            return f"task {request.type}[{request.id}] runs past its hard deadline of {deadline:g} s"
    return None


def arm_deadman(frozen_seconds: float) -> None:
    """End the process with status 1 unless called again within ``frozen_seconds``.

    C code that hangs while it holds the GIL stops every Python thread, this watchdog too. faulthandler's timer is
    a C thread: it needs no GIL. Nothing is handed back then; the leases lapse, since nobody renews them either.
    """
    faulthandler.dump_traceback_later(frozen_seconds, exit=True, file=sys.__stderr__ or sys.stderr)


class Watchdog(bootsteps.StartStopStep):
    """Looks twice a second, from the end of the warm-up until the process ends, so during a drain too."""

    requires = ("tasks.worker.warmup:WarmUp",)

    def start(self, parent: WorkController) -> None:
        """Start the watching thread."""
        config = wiring_of(parent.app).config
        stopwatch: Stopwatch[RunKey] = Stopwatch()

        def tick() -> None:
            arm_deadman(config.frozen_seconds)
            complaint = overdue(config, stopwatch)
            if complaint is not None:
                # sys.stderr is Celery's logging proxy here: it has no file number
                faulthandler.dump_traceback(file=sys.__stderr__ or sys.stderr, all_threads=True)
                leave(parent, EX_SOFTWARE, complaint)

        arm_deadman(config.frozen_seconds)  # before the first message
        start_ticker("watchdog", TICK_SECONDS, tick)

    def stop(self, parent: WorkController) -> None:
        """Keep watching: a hung task would block the drain for ever."""

    terminate = stop
