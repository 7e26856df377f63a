"""Counters of each tier since the start of the process, for metrics."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from storage.tiers.guard import Health


@dataclass(frozen=True, slots=True)
class TierCounters:
    """Counters of one tier. Keys of ``misses`` and ``fills`` are error codes; ``filled`` counts completed fills."""

    hits: int
    reused: int  # hits whose bytes were already in the spool
    unverified: int  # hits without a checksum of the object store to compare with
    misses: Mapping[str, int]
    fetched_bytes: int
    milliseconds: float  # of hits and misses together
    fills: Mapping[str, int]
    health: Health


@dataclass(slots=True)
class TierTally:
    """Collects the counters of one tier. Thread-safe."""

    hits: int = 0
    reused: int = 0
    unverified: int = 0
    misses: Counter[str] = field(default_factory=Counter)
    fetched_bytes: int = 0
    milliseconds: float = 0.0
    fills: Counter[str] = field(default_factory=Counter)
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def add_time(self, milliseconds: float) -> None:
        """Add to the time that the tier took."""
        with self._lock:
            self.milliseconds += milliseconds

    def hit(self, size_bytes: int, *, is_reused: bool, is_verified: bool) -> None:
        """Count an object that the tier served."""
        with self._lock:
            self.hits += 1
            self.reused += is_reused
            self.unverified += not is_verified
            self.fetched_bytes += 0 if is_reused else size_bytes

    def miss(self, reason: str) -> None:
        """Count an object that the tier did not serve."""
        with self._lock:
            self.misses[reason] += 1

    def fill(self, reason: str) -> None:
        """Count a completed fill, or the reason for skipping it."""
        with self._lock:
            self.fills[reason] += 1

    def counters(self, health: Health) -> TierCounters:
        """Return the present counts."""
        with self._lock:
            return TierCounters(
                hits=self.hits,
                reused=self.reused,
                unverified=self.unverified,
                misses=dict(self.misses),
                fetched_bytes=self.fetched_bytes,
                milliseconds=self.milliseconds,
                fills=dict(self.fills),
                health=health,
            )
