"""Shares of the wall clock: each instant is counted once, for the activity that the run waits for."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum


class Activity(StrEnum):
    """Activities of an extraction, first those that go first where several happen at once.

    While the device computes, decoding beside it costs nothing; so an instant counts as decoding only when the device
    has nothing to do.
    """

    FORWARD = "forward"  # the encoder runs
    UPLOAD = "upload"  # clips are copied to the device
    DECODE = "decode"
    READ = "read"  # a file is read to learn its digest, or the cache is asked
    SAVE = "save"
    START = "start"  # the encoder is loaded and run for the first time
    OTHER = "other"  # none of these, such as waiting for other processes


@dataclass(frozen=True, slots=True)
class Span:
    """A stretch of one activity of one thread, in seconds of the clock."""

    activity: Activity
    begin: float
    end: float
    thread: str


class WorkClock:
    """Counts the wall-clock seconds of a process by activity; they add up to the time since its start. Thread-safe.

    ``clock`` is monotonic, in seconds. ``take_span`` gets every measured block when it ends.
    """

    def __init__(
        self, clock: Callable[[], float] = time.perf_counter, take_span: Callable[[Span], None] | None = None
    ) -> None:
        self._clock = clock
        self._take_span = take_span
        self._lock = threading.Lock()
        self._running: Counter[Activity] = Counter()
        self._wall = dict.fromkeys(Activity, 0.0)
        self._thread = dict.fromkeys(Activity, 0.0)
        self._last = clock()

    @contextmanager
    def measuring(self, activity: Activity) -> Iterator[None]:
        """Count the block's time; blocks of several threads may overlap."""
        begin = self._switch(activity, 1)
        try:
            yield
        finally:
            end = self._switch(activity, -1)
            with self._lock:
                self._thread[activity] += end - begin
            if self._take_span is not None:
                self._take_span(Span(activity, begin, end, threading.current_thread().name))

    def wall_seconds(self) -> Mapping[str, float]:
        """Seconds of the wall clock by activity until now; their sum is the time since the start."""
        with self._lock:
            self._advance()
            return {one.value: self._wall[one] for one in Activity}

    def thread_seconds(self) -> Mapping[str, float]:
        """Seconds by activity, those of all threads added, of the blocks that have ended."""
        with self._lock:
            return {one.value: self._thread[one] for one in Activity}

    def _switch(self, activity: Activity, change: int) -> float:
        with self._lock:
            self._advance()
            self._running[activity] += change
            return self._last

    def _advance(self) -> None:
        now = self._clock()
        leading = next((one for one in Activity if self._running[one] > 0), Activity.OTHER)
        self._wall[leading] += now - self._last
        self._last = now


def add_up(parts: list[Mapping[str, float]]) -> dict[str, float]:
    """Add the seconds of several processes, activity by activity."""
    return {one.value: sum(part.get(one.value, 0.0) for part in parts) for one in Activity}
