"""Detects the silent stall: connected, alive, its queues hold messages, and yet nothing arrives."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from celery import bootsteps

from tasks.broker.queue_depth import waiting_messages
from tasks.broker.side_channel import SideChannel
from tasks.telemetry.pulse import Phase, Pulse
from tasks.worker.config import Wiring, wiring_of
from tasks.worker.requests import is_idle
from tasks.worker.stop import leave
from tasks.worker.ticker import EX_SOFTWARE, start_ticker
from tasks.worker.warmup import consumed_queues

if TYPE_CHECKING:
    from celery.worker.worker import WorkController

LOOKS_PER_STALL = 8


@dataclass(slots=True)
class StallClock:
    """Measures how long messages have been waiting at every look while this process sat idle."""

    pulse: Pulse
    _idle_since: float = field(default_factory=time.monotonic)

    def seconds(self, *, has_waiting: bool) -> float:
        """Return the seconds of the stall so far; 0 while there is none."""
        now = time.monotonic()
        may_take = self.pulse.is_gate_open and not self.pulse.is_cordoned
        if not has_waiting or not may_take or not is_idle():
            self._idle_since = now
        return now - max(self._idle_since, self.pulse.received_at)

    def restart(self) -> None:
        """Begin anew: nobody could look, so nobody knows that messages waited all the while."""
        self._idle_since = time.monotonic()


class StallDetector(bootsteps.StartStopStep):
    """Ends a stalled process with status 70, so that its supervisor starts a fresh one."""

    requires = ("tasks.worker.warmup:WarmUp",)

    def start(self, parent: WorkController) -> None:
        """Start the looking thread."""
        wiring, side = wiring_of(parent.app), SideChannel(parent.app)
        clock, limit_seconds = StallClock(wiring.pulse), wiring.config.stall_seconds

        def look(channel: Any) -> None:
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
            if _should_consume(wiring) and not side.attempt(look, "stall detection"):
                clock.restart()

        start_ticker("stall", limit_seconds / LOOKS_PER_STALL, tick)


def _should_consume(wiring: Wiring) -> bool:
    """A reconnect that never ends is a stall too: this thread's own connection shows whether the broker is there."""
    return wiring.pulse.phase in (Phase.CONSUMING, Phase.CONNECTING)
