"""Trying again: how often, after which wait, and until when."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from storage.errors import Unavailable
from storage.objects.oss.answers import OssFailure

T = TypeVar("T")

PROGRESS_BYTES = 1 << 20  # so much received since the last failure makes it the first in a row again


@dataclass(frozen=True, slots=True)
class TryLimits:
    """How long one call on a store goes on; waits are drawn from the upper half of 1×, 2×, 4× the first."""

    attempts: int = 4  # failures in a row
    first_wait_seconds: float = 0.2
    longest_wait_seconds: float = 4.0  # a server that asks for more gets its wish from the caller's retry
    deadline_seconds: float = 900.0


class Tries:
    """The tries of one call."""

    def __init__(self, limits: TryLimits) -> None:
        self.limits = limits
        self._failures = 0
        self._progress_bytes = 0
        self._deadline = time.monotonic() + limits.deadline_seconds

    def progress(self, received_bytes: int) -> None:
        """Note that bytes arrived."""
        self._progress_bytes += received_bytes

    def is_late(self) -> bool:
        """Whether the deadline has passed."""
        return time.monotonic() >= self._deadline

    def wait_after(self, failure: OssFailure) -> None:
        """Wait before the next try; raise the failure's error when there is none."""
        if self._progress_bytes >= PROGRESS_BYTES:
            self._failures = 0
        self._failures, self._progress_bytes = self._failures + 1, 0
        wait_seconds = self._wait_seconds(failure)
        if not failure.is_retryable or self._failures >= self.limits.attempts or wait_seconds is None:
            raise failure.error
        if time.monotonic() + wait_seconds >= self._deadline:
            raise Unavailable(f"{failure.error}; {self.limits.deadline_seconds:g} s are over")
        time.sleep(wait_seconds)

    def _wait_seconds(self, failure: OssFailure) -> float | None:
        """Return None where the server asks for more patience than we have."""
        longest = self.limits.longest_wait_seconds
        if (asked := failure.retry_after_seconds) is not None and asked > longest:
            return None
        ceiling = min(longest, self.limits.first_wait_seconds * 2.0 ** (self._failures - 1))
        drawn = ceiling * random.uniform(0.5, 1.0)  # noqa: S311 - spreads retries, guards no secret
        return max(drawn, asked or 0.0)


def retrying(tries: Tries, operation: Callable[[], T | OssFailure]) -> T:
    """Call until there is an answer; raises the last failure's error."""
    while True:
        answer = operation()
        if not isinstance(answer, OssFailure):
            return answer
        tries.wait_after(answer)
