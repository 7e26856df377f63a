"""Detection of stalls: the worker is connected and idle, its queues hold messages, and it receives none."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from celery import bootsteps

from tasks.broker.queue_depth import waiting_messages
from tasks.broker.side_channel import SideChannel
from tasks.telemetry.pulse import Pulse, WorkerPhase
from tasks.worker.config import Wiring, wiring_of
from tasks.worker.requests import is_idle
from tasks.worker.stop import leave
from tasks.worker.ticker import EX_SOFTWARE, start_ticker
from tasks.worker.warmup import consumed_queues

if TYPE_CHECKING:
    from celery.worker.worker import WorkController

CHECKS_PER_STALL = 8


class StallClock:
    """Measures for how long every check has found waiting messages while this process was idle."""

    def __init__(self, pulse: Pulse, clock: Callable[[], float] = time.monotonic) -> None:
        self.pulse = pulse
        self._clock = clock
        self._idle_since = clock()

    def seconds(self, *, has_waiting: bool) -> float:
        """Return the seconds of the stall so far; 0 while there is none."""
        now = self._clock()
        may_take = self.pulse.is_gate_open and not self.pulse.is_cordoned
        if not has_waiting or not may_take or not is_idle():
            self._idle_since = now
        return now - max(self._idle_since, self.pulse.received_at)

    def restart(self) -> None:
        """Begin anew after a failed check: it is unknown whether messages waited all the time."""
        self._idle_since = self._clock()


class StallDetector(bootsteps.StartStopStep):
    """Ends a stalled process with status 70, so that its supervisor starts a new one."""

    requires = ("tasks.worker.warmup:WarmUp",)

    def start(self, parent: WorkController) -> None:
        """Start the checking thread."""
        wiring, side = wiring_of(parent.app), SideChannel(parent.app)
        clock, limit_seconds = StallClock(wiring.pulse), wiring.config.stall_seconds

        def check(channel: Any) -> None:
            queues = consumed_queues(parent)
            waiting = waiting_messages(channel, queues)
            stalled_seconds = clock.seconds(has_waiting=waiting > 0)
            if stalled_seconds >= limit_seconds:
                names = ", ".join(sorted(queues))
                leave(
                    parent,
                    EX_SOFTWARE,
                    f"stalled: {waiting} waiting in {names}, none taken for {stalled_seconds:.0f} s",
                )

        def tick() -> None:
            if _should_consume(wiring) and not side.attempt(check, "stall detection"):
                clock.restart()

        start_ticker("stall", limit_seconds / CHECKS_PER_STALL, tick)


def _should_consume(wiring: Wiring) -> bool:
    # An endless reconnect is a stall too: the side channel shows whether the broker answers.
    return wiring.pulse.phase in (WorkerPhase.CONSUMING, WorkerPhase.CONNECTING)
