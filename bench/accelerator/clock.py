"""Timing whatever runs on a device, within a budget."""

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
    """Wall seconds of one call, the device's work included."""

    median_seconds: float
    least_seconds: float
    most_seconds: float
    runs: int


class Deadline:
    """A point in time that loops ask about."""

    def __init__(self, seconds: float) -> None:
        self._end = time.monotonic() + seconds

    @property
    def left_seconds(self) -> float:
        """How long until then; 0 once it has passed."""
        return max(0.0, self._end - time.monotonic())

    @property
    def has_passed(self) -> bool:
        """Whether no time is left."""
        return self.left_seconds == 0


def synchronize(device: torch.device) -> None:
    """Wait until the device has done what it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def measure_once(run: Callable[[], object], device: torch.device) -> float:
    """Seconds of one call; of the first, to see what compiling and recording cost."""
    synchronize(device)
    started = time.perf_counter()
    run()
    synchronize(device)
    return time.perf_counter() - started


def measure(run: Callable[[], object], device: torch.device, seconds: float) -> Timing:
    """Call ``run`` for about that long, at least three times, after two calls that do not count."""
    for _ in range(WARM_RUNS):
        run()
    synchronize(device)
    deadline, taken = Deadline(seconds), list[float]()
    while len(taken) < LEAST_RUNS or not deadline.has_passed:
        taken.append(measure_once(run, device))
    return Timing(median(taken), min(taken), max(taken), len(taken))
