"""Retries of one call: their number, the waits between them, and the deadline."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from storage.backoff import Backoff
from storage.errors import Unavailable
from storage.objects.oss.answers import OssFailure

T = TypeVar("T")

PROGRESS_BYTES = 1 << 20  # after so many received bytes, the next failure counts as the first in a row


@dataclass(frozen=True, slots=True)
class TryLimits:
    """Limits of the retries of one call; the waits are random, between half and all of 1×, 2×, 4× the first."""

    attempts: int = 4  # failures in a row
    first_wait_seconds: float = 0.2
    longest_wait_seconds: float = 4.0  # a longer Retry-After is left to the caller
    deadline_seconds: float = 900.0


class Tries:
    """The tries of one call, counted."""

    def __init__(self, limits: TryLimits) -> None:
        self.limits = limits
        self._failures = 0
        self._progress_bytes = 0
        self._deadline = time.monotonic() + limits.deadline_seconds

    def progress(self, received_bytes: int) -> None:
        """Note that bytes arrived."""
        self._progress_bytes += received_bytes

    def is_late(self) -> bool:
        """Return True after the deadline."""
        return time.monotonic() >= self._deadline

    def wait_after(self, failure: OssFailure) -> None:
        """Wait before the next try; raise the failure's error if no try is left."""
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
        """Return None where the server asks for a longer wait than the limits allow."""
        longest = self.limits.longest_wait_seconds
        if (asked := failure.retry_after_seconds) is not None and asked > longest:
            return None
        drawn = Backoff(self.limits.first_wait_seconds, longest).wait_seconds(self._failures)
        return max(drawn, asked or 0.0)


def retrying(tries: Tries, operation: Callable[[], T | OssFailure]) -> T:
    """Call until an answer comes; raise the error of the last failure."""
    while True:
        answer = operation()
        if not isinstance(answer, OssFailure):
            return answer
        tries.wait_after(answer)
