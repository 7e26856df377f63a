"""Timing of calls on a device, within a time limit."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median

import torch

WARM_RUNS = 2
LEAST_RUNS = 3


@dataclass(frozen=True, slots=True)
class Timing:
    """Wall seconds of a call, including the device's work."""

    median_seconds: float
    least_seconds: float
    most_seconds: float
    runs: int


class Deadline:
    """A point in time at which loops end."""

    def __init__(self, seconds: float) -> None:
        self._end = time.monotonic() + seconds

    @property
    def left_seconds(self) -> float:
        """Seconds left; 0 after the deadline."""
        return max(0.0, self._end - time.monotonic())

    @property
    def has_passed(self) -> bool:
        """True when no time is left."""
        return self.left_seconds == 0


def synchronize(device: torch.device) -> None:
    """Wait until the device has finished its work."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def measure_once(run: Callable[[], object], device: torch.device) -> float:
    """Measure one call, in seconds; for the first call this includes compiling and recording."""
    synchronize(device)
    started = time.perf_counter()
    run()
    synchronize(device)
    return time.perf_counter() - started


def measure(run: Callable[[], object], device: torch.device, seconds: float) -> Timing:
    """Call ``run`` for about ``seconds``, at least three times, after two calls that are not counted."""
    for _ in range(WARM_RUNS):
        run()
    synchronize(device)
    deadline, taken = Deadline(seconds), list[float]()
    while len(taken) < LEAST_RUNS or not deadline.has_passed:
        taken.append(measure_once(run, device))
    return Timing(median(taken), min(taken), max(taken), len(taken))
