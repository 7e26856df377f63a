"""Counters of each tier since the start of the process, for metrics."""

from __future__ import annotations

import threading
from collections import Counter
from dataclasses import dataclass, field, replace

from storage.tiers.guard import Health


@dataclass(slots=True)
class TierCounters:
    """Counters of one tier. Keys of ``misses`` and ``fills`` are error codes; ``filled`` counts completed fills."""

    health: Health
    hits: int = 0
    reused: int = 0  # hits whose bytes were already in the spool
    unverified: int = 0  # hits without a checksum of the object store to compare with
    misses: Counter[str] = field(default_factory=Counter)
    fetched_bytes: int = 0
    milliseconds: float = 0.0  # of hits and misses together
    fills: Counter[str] = field(default_factory=Counter)


class TierTally:
    """Collects the counters of one tier. Thread-safe."""

    def __init__(self, health: Health) -> None:
        self._counters, self._lock = TierCounters(health), threading.Lock()

    def add_time(self, milliseconds: float) -> None:
        """Add to the time that the tier took."""
        with self._lock:
            self._counters.milliseconds += milliseconds

    def hit(self, size_bytes: int, *, is_reused: bool, is_verified: bool) -> None:
        """Count an object that the tier served."""
        with self._lock:
            self._counters.hits += 1
            self._counters.reused += is_reused
            self._counters.unverified += not is_verified
            self._counters.fetched_bytes += 0 if is_reused else size_bytes

    def miss(self, reason: str) -> None:
        """Count an object that the tier did not serve."""
        with self._lock:
            self._counters.misses[reason] += 1

    def fill(self, reason: str) -> None:
        """Count a completed fill, or the reason for skipping it."""
        with self._lock:
            self._counters.fills[reason] += 1

    def counters(self, health: Health) -> TierCounters:
        """Return the present counts."""
        with self._lock:
            own = self._counters
            return replace(own, health=health, misses=own.misses.copy(), fills=own.fills.copy())
