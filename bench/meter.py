"""Cost of a round: wall seconds, CPU-seconds and memory of the whole process tree, and a canary."""

from __future__ import annotations

import os
import re
import resource
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil

SPINS = 600_000  # about 30 ms of one core
_PEAK = re.compile(r"VmHWM:\s+(\d+) kB")


@dataclass(frozen=True, slots=True)
class ClockReading:
    """A reading of both clocks."""

    wall_seconds: float
    cpu_seconds: float

    @classmethod
    def read(cls) -> ClockReading:
        """Read both clocks now. CPU-seconds of living descendants have steps of 10 ms, the resolution of the kernel."""
        own = _rusage(resource.RUSAGE_SELF) + _rusage(resource.RUSAGE_CHILDREN)
        return cls(time.perf_counter(), own + sum(_descendants_seconds()))


def children_cpu_seconds() -> float:
    """CPU-seconds of the living descendants only."""
    return sum(_descendants_seconds())


def tree_peak_bytes() -> int:
    """Sum of the peaks of resident memory of this process and its living descendants.

    ``ru_maxrss`` is not used: a child inherits it from the process that started it.
    """
    pids = [os.getpid(), *(child.pid for child in psutil.Process().children(recursive=True))]
    return sum(_peak_bytes(pid) for pid in pids)


def canary() -> ClockReading:
    """Time a fixed piece of work, which shows a machine that becomes slower."""
    started, cpu_started = time.perf_counter(), time.process_time()
    total = 0
    for number in range(SPINS):
        total += number
    return ClockReading(time.perf_counter() - started, time.process_time() - cpu_started)


def _rusage(scope: int) -> float:
    usage = resource.getrusage(scope)
    return usage.ru_utime + usage.ru_stime


def _descendants_seconds() -> Iterator[float]:
    for child in psutil.Process().children(recursive=True):
        try:
            yield sum(child.cpu_times()[:4])  # user, system, and those of its own reaped children
        except psutil.NoSuchProcess:
            continue


def _peak_bytes(pid: int) -> int:
    try:
        found = _PEAK.search(Path(f"/proc/{pid}/status").read_text(encoding="utf-8"))
    except OSError:  # the process has ended
        return 0
    return int(found[1]) * 1024 if found else 0
