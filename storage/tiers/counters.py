"""What each tier did since the process started, for metrics."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from storage.tiers.guard import Health


@dataclass(frozen=True, slots=True)
class TierCounters:
    """One tier's. ``misses`` and ``fills`` are by reason: an error's code; ``filled`` for a fill that was made."""

    hits: int
    reused: int  # hits whose bytes were in the spool already
    unverified: int  # hits that the object store could not be asked about
    misses: Mapping[str, int]
    fetched_bytes: int
    milliseconds: float  # hits and misses together
    fills: Mapping[str, int]
    health: Health


@dataclass(slots=True)
class Tally:
    """The counts behind ``TierCounters``; share it between threads."""

    hits: int = 0
    reused: int = 0
    unverified: int = 0
    misses: Counter[str] = field(default_factory=Counter)
    fetched_bytes: int = 0
    milliseconds: float = 0.0
    fills: Counter[str] = field(default_factory=Counter)
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def spent(self, milliseconds: float) -> None:
        """Add time to what the tier took."""
        with self._lock:
            self.milliseconds += milliseconds

    def hit(self, size_bytes: int, *, is_reused: bool, is_verified: bool) -> None:
        """Count an object served."""
        with self._lock:
            self.hits += 1
            self.reused += is_reused
            self.unverified += not is_verified
            self.fetched_bytes += 0 if is_reused else size_bytes

    def miss(self, reason: str) -> None:
        """Count an object not served."""
        with self._lock:
            self.misses[reason] += 1

    def fill(self, reason: str) -> None:
        """Count a fill that was made, or why it was not."""
        with self._lock:
            self.fills[reason] += 1

    def counters(self, health: Health) -> TierCounters:
        """The counts now."""
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
