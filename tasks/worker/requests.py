"""The task requests this process holds, and for how long they have been running."""

from __future__ import annotations

import time
from collections.abc import Hashable, Iterable
from typing import Any, Generic, TypeVar

from celery.worker import state

KeyT = TypeVar("KeyT", bound=Hashable)


def _running_requests() -> list[Any]:
    """Copy Celery's weak set, which other threads change while it is read."""
    while True:
        try:
            return list(state.active_requests)
        except RuntimeError:  # "Set changed size during iteration"
            continue


def live_requests() -> list[Any]:
    """Return every request received and not finished: waiting for its ETA, reserved or running.

    Two sources, because a message redelivered to the same process carries the same id: when the first copy
    ends, Celery forgets the id in ``requests`` while the second copy still runs.
    """
    known = {id(request): request for request in (*list(state.requests.values()), *_running_requests())}
    return list(known.values())


def is_idle() -> bool:
    """Say whether no task runs or waits for a thread here; tasks that wait for their ETA do not count."""
    return not any(request.eta is None or has_started(request) for request in live_requests())


def has_started(request: Any) -> bool:
    """Say whether a pool thread has taken the request up."""
    return request.time_start is not None


class Stopwatch(Generic[KeyT]):
    """Ages on the monotonic clock, counted from the first time a key was shown.

    ``Request.time_start`` is wall-clock time: a clock step would end healthy tasks.
    """

    def __init__(self) -> None:
        self._first_seen: dict[KeyT, float] = {}

    def ages(self, keys: Iterable[KeyT]) -> dict[KeyT, float]:
        """Return seconds since each of ``keys`` was first shown; forget all others."""
        now = time.monotonic()
        self._first_seen = {key: self._first_seen.get(key, now) for key in keys}
        return {key: now - since for key, since in self._first_seen.items()}
