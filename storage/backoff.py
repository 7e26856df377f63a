"""Exponential back-off with jitter: the wait before the next attempt."""

from __future__ import annotations

import random
from dataclasses import dataclass

_MAX_DOUBLINGS = 60  # more would overflow a float before ``longest_seconds`` is applied


@dataclass(frozen=True, slots=True)
class Backoff:
    """Waits that double from ``first_seconds`` up to ``longest_seconds``, each shortened by up to half at random."""

    first_seconds: float
    longest_seconds: float

    def wait_seconds(self, attempt: int) -> float:
        """Return the wait after failed attempt number ``attempt`` (from 1)."""
        ceiling = min(self.longest_seconds, self.first_seconds * 2.0 ** min(attempt - 1, _MAX_DOUBLINGS))
        return ceiling * random.uniform(0.5, 1.0)  # noqa: S311 - spreads retries, guards no secret
