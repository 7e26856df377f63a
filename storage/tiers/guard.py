"""A store whose calls have time limits and pass a circuit breaker."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import BinaryIO, TypeVar

from storage.errors import Rejected, SpoolFull, TierOpen, Unavailable
from storage.objects.protocol import ObjectStat, ObjectStore
from storage.spool.files import SpoolUnavailable
from storage.tiers.breaker import Breaker, BreakerLimits, BreakerState
from storage.tiers.time_limits import HelperThreads, TimeLimits
from storage.uri import ObjectUri

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class TierLimits:
    """Limits of the calls on one tier's store."""

    time_limits: TimeLimits = field(default_factory=TimeLimits)
    breaker: BreakerLimits = field(default_factory=BreakerLimits)


@dataclass(frozen=True, slots=True)
class Health:
    """The health of a guarded store."""

    state: BreakerState
    openings: int
    stuck_calls: int  # abandoned, and hanging now
    abandoned_calls: int  # since the start of the process


class GuardedStore:
    """``stat`` and ``fetch`` of a store, each with a time limit and behind one circuit breaker. Thread-safe.

    Raises the store's errors, ``TierTimeout``, and ``TierOpen`` without a call while the breaker is open or too many
    calls hang. Only ``Unavailable`` counts as a failure: «missing» and «corrupt» are answers.
    """

    def __init__(
        self, name: str, store: ObjectStore, limits: TierLimits, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.name = name
        self._store = store
        self._helpers = HelperThreads(name, limits.time_limits)
        self._breaker = Breaker(limits.breaker, clock=clock)

    def stat(self, uri: ObjectUri) -> ObjectStat:
        """Return the properties of the object, as the store does."""
        return self._ask("stat", lambda: self._helpers.call(lambda: self._store.stat(uri)))

    def fetch(self, uri: ObjectUri, stat: ObjectStat, into: BinaryIO) -> None:
        """Fetch as the store does; ``into`` is written in the caller's thread, and only ``write`` is used."""
        self._ask("fetch", lambda: self._helpers.stream(lambda relay: self._store.fetch(uri, stat, relay), into))

    def health(self) -> Health:
        """Return the breaker's state, and the numbers of abandoned calls."""
        helpers, breaker = self._helpers, self._breaker
        return Health(breaker.state, breaker.openings, helpers.stuck, helpers.abandoned)

    def _ask(self, kind: str, call: Callable[[], T]) -> T:
        if self._helpers.is_exhausted:
            fault = f"{self._helpers.stuck} calls to {self.name} hang; restart this worker once the mount works again"
            raise TierOpen(fault, wait_seconds=self._breaker.wait_seconds)
        ticket = self._breaker.admit()
        if ticket is None:
            wait_seconds = self._breaker.wait_seconds
            fault = f"{self.name} failed too often in a row; next attempt in {wait_seconds:.0f} s"
            raise TierOpen(fault, wait_seconds=wait_seconds)
        is_answered: bool | None = None
        try:
            answer = call()
            is_answered = True
        except (SpoolFull, SpoolUnavailable):
            raise  # an error of this node says nothing about the store
        except Unavailable:
            is_answered = False
            raise
        except Rejected:
            is_answered = True
            raise
        finally:
            self._breaker.record(ticket, kind, is_answered=is_answered)
        return answer
