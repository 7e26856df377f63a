"""A circuit breaker: a store that fails again and again is left alone for a while, then asked once.

closed ──N failures in a row──► open ──the pause is over──► half open (one probe) ──it works──► closed
                                  ▲                                   │
                                  └────── it fails: twice the pause ──┘
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum


class BreakerState(StrEnum):
    """What the breaker lets through: everything, nothing, one probe."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


@dataclass(frozen=True, slots=True)
class BreakerLimits:
    """When the breaker opens, and for how long: the pause doubles with each probe that fails."""

    failures: int = 5  # in a row, of one kind of call
    pause_seconds: float = 5.0
    longest_pause_seconds: float = 60.0


@dataclass(frozen=True, slots=True)
class Ticket:
    """Leave to make one call. Its outcome is of interest only while the breaker is as it was."""

    generation: int


class Breaker:
    """Counts failures in a row, for each kind of call by itself: a mount may answer a stat and yet hang in a read.

    Thread-safe. ``clock`` is monotonic, in seconds.
    """

    def __init__(self, limits: BreakerLimits, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._limits, self._clock = limits, clock
        self._lock = threading.Lock()
        self._streaks: Counter[str] = Counter()  # failures in a row, by kind of call
        self._state, self._generation, self._openings = BreakerState.CLOSED, 0, 0
        self._pause_seconds, self._reopens_at = limits.pause_seconds, 0.0
        self._is_probed = False

    @property
    def state(self) -> BreakerState:
        """The state, as the next caller would find it."""
        with self._lock:
            is_due = self._state is BreakerState.OPEN and self._clock() >= self._reopens_at
            return BreakerState.HALF_OPEN if is_due else self._state

    @property
    def openings(self) -> int:
        """How often it opened."""
        return self._openings

    @property
    def wait_seconds(self) -> float:
        """When it is worth asking again: the rest of the pause, or a whole one while a probe is out."""
        with self._lock:
            remaining_seconds = self._reopens_at - self._clock()
            return remaining_seconds if remaining_seconds > 0 else self._pause_seconds

    def admit(self) -> Ticket | None:
        """Give leave to call, or None. Whoever got a ticket settles it, whatever happens."""
        with self._lock:
            if self._state is BreakerState.OPEN and self._clock() >= self._reopens_at:
                self._enter(BreakerState.HALF_OPEN)
            if self._state is BreakerState.OPEN or (self._state is BreakerState.HALF_OPEN and self._is_probed):
                return None
            self._is_probed = self._state is BreakerState.HALF_OPEN
            return Ticket(self._generation)

    def record(self, ticket: Ticket, kind: str, *, is_answered: bool | None) -> None:
        """Say how the call ended: answered, failed, or None when that says nothing about the store."""
        with self._lock:
            if ticket.generation != self._generation:
                return  # of before it opened or closed
            self._is_probed = False
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
        for kind, streak in self._streaks.items():  # of the other kinds, one more failure opens it again
            self._streaks[kind] = min(streak, self._limits.failures - 1)
        self._enter(BreakerState.CLOSED)

    def _open(self, pause_seconds: float) -> None:
        self._pause_seconds = pause_seconds
        self._reopens_at = self._clock() + pause_seconds
        self._openings += 1
        self._enter(BreakerState.OPEN)

    def _enter(self, state: BreakerState) -> None:
        self._state = state
        self._generation += 1
        self._is_probed = False
