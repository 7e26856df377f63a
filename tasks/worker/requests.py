"""Task requests that this process holds, and the seconds that they have been running."""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable, Iterable
from typing import Any, Generic, TypeVar

from celery.worker import state

KeyT = TypeVar("KeyT", bound=Hashable)


def _running_requests() -> list[Any]:
    """Return a copy of Celery's weak set; other threads change it while it is copied."""
    while True:
        try:
            return list(state.active_requests)
        except RuntimeError:  # "Set changed size during iteration"
            continue


def live_requests() -> list[Any]:
    """Return every request received and not finished: waiting for its ETA, reserved or running.

    There are two sources, because a message that is delivered again to the same process has the same id: when the
    first copy ends, Celery removes the id from ``requests`` while the second copy still runs.
    """
    known = {id(request): request for request in (*list(state.requests.values()), *_running_requests())}
    return list(known.values())


def is_idle() -> bool:
    """Return whether no task runs or waits for a thread here; tasks that wait for their ETA do not count."""
    return not any(request.eta is None or has_started(request) for request in live_requests())


def has_started(request: Any) -> bool:
    """Return whether a pool thread runs the request."""
    return request.time_start is not None


class Stopwatch(Generic[KeyT]):
    """Ages of keys in seconds of ``clock``, counted from the first call that had the key.

    ``Request.time_start`` is not used: it is wall-clock time, and a clock step would end healthy tasks.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._first_seen: dict[KeyT, float] = {}

    def ages(self, keys: Iterable[KeyT]) -> dict[KeyT, float]:
        """Return the seconds since each of ``keys`` was first given; forget all others."""
        now = self._clock()
        self._first_seen = {key: self._first_seen.get(key, now) for key in keys}
        return {key: now - since for key, since in self._first_seen.items()}
