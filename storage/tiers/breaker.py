"""A circuit breaker: after repeated failures a store gets no calls for a pause, then one probe call.

closed ──N failures in a row──► open ──pause ends──► half open (one probe) ──success──► closed
                                  ▲                             │
                                  └─── failure: twice the pause ─┘
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum


class BreakerState(StrEnum):
    """The state of a breaker: it admits every call, no call, or one probe."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


@dataclass(frozen=True, slots=True)
class BreakerLimits:
    """Limits of a breaker: the failures that open it, and its pauses. A failed probe doubles the pause."""

    failures: int = 5  # in a row, of one kind of call
    pause_seconds: float = 5.0
    longest_pause_seconds: float = 60.0


@dataclass(frozen=True, slots=True)
class Ticket:
    """Permission for one call. Its outcome is ignored if the breaker changed its state since."""

    generation: int


class Breaker:
    """Counts failures in a row, separately for each kind of call: a mount may answer a stat and yet hang in a read.

    Thread-safe. ``clock`` is monotonic, in seconds.
    """

    def __init__(self, limits: BreakerLimits, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._limits, self._clock = limits, clock
        self._lock = threading.Lock()
        self._streaks: Counter[str] = Counter()  # failures in a row, by kind of call
        self._state, self._generation, self.openings = BreakerState.CLOSED, 0, 0
        self._pause_seconds, self._reopens_at = limits.pause_seconds, 0.0
        self._is_probing = False

    @property
    def state(self) -> BreakerState:
        """The state that the next caller finds."""
        with self._lock:
            is_due = self._state is BreakerState.OPEN and self._clock() >= self._reopens_at
            return BreakerState.HALF_OPEN if is_due else self._state

    @property
    def wait_seconds(self) -> float:
        """Seconds until a call may succeed: the rest of the pause, or a whole pause while a probe runs."""
        with self._lock:
            remaining_seconds = self._reopens_at - self._clock()
            return remaining_seconds if remaining_seconds > 0 else self._pause_seconds

    def admit(self) -> Ticket | None:
        """Return a ticket, or None if no call is allowed. Every ticket must be passed to :meth:`record`."""
        with self._lock:
            if self._state is BreakerState.OPEN and self._clock() >= self._reopens_at:
                self._enter(BreakerState.HALF_OPEN)
            if self._state is BreakerState.OPEN or (self._state is BreakerState.HALF_OPEN and self._is_probing):
                return None
            self._is_probing = self._state is BreakerState.HALF_OPEN
            return Ticket(self._generation)

    def record(self, ticket: Ticket, kind: str, *, is_answered: bool | None) -> None:
        """Record the outcome of the call: answered, failed, or None if it says nothing about the store."""
        with self._lock:
            if ticket.generation != self._generation:
                return  # from before the last change of state
            self._is_probing = False
            if is_answered is None:
                return
            self._streaks[kind] = 0 if is_answered else self._streaks[kind] + 1
            if self._state is BreakerState.HALF_OPEN:
                self._judge_probe(is_answered=is_answered)
            elif self._streaks[kind] >= self._limits.failures:
                self._open(self._limits.pause_seconds)

    def _judge_probe(self, *, is_answered: bool) -> None:
        if not is_answered:
            self._open(min(2 * self._pause_seconds, self._limits.longest_pause_seconds))
            return
        for kind, streak in self._streaks.items():  # one more failure of another kind opens it again
            self._streaks[kind] = min(streak, self._limits.failures - 1)
        self._enter(BreakerState.CLOSED)

    def _open(self, pause_seconds: float) -> None:
        self._pause_seconds = pause_seconds
        self._reopens_at = self._clock() + pause_seconds
        self.openings += 1
        self._enter(BreakerState.OPEN)

    def _enter(self, state: BreakerState) -> None:
        self._state = state
        self._generation += 1
        self._is_probing = False
