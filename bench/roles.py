"""CPU-seconds and memory of a fleet's processes, by role: io, gpu0, results, beat, broker, decode, up."""

from __future__ import annotations

import re
from collections.abc import Iterator

import psutil

WORKER = re.compile(r"--hostname=(\w+)@")
MARKS = {"inference.decode.processes.child": "decode", "valkey-server": "broker"}


def cpu_seconds() -> dict[str, float]:
    """Role -> CPU-seconds so far of this process's living descendants, without their ended children."""
    seconds: dict[str, float] = {}
    for role, process in _descendants():
        times = process.cpu_times()
        seconds[role] = seconds.get(role, 0.0) + times.user + times.system
    return seconds


def resident_bytes() -> dict[str, int]:
    """Role -> resident bytes now; pages that two processes share count in both."""
    found: dict[str, int] = {}
    for role, process in _descendants():
        found[role] = found.get(role, 0) + process.memory_info().rss
    return found


def pid_of(role: str) -> int | None:
    """Return the process id of the role, or None while it does not run."""
    return next((process.pid for found, process in _descendants() if found == role), None)


def _descendants() -> Iterator[tuple[str, psutil.Process]]:
    for process in psutil.Process().children(recursive=True):
        try:
            if process.status() != psutil.STATUS_ZOMBIE and (role := _role(process.cmdline())):
                yield role, process
        except psutil.NoSuchProcess:
            continue


def _role(words: list[str]) -> str | None:
    line = " ".join(words)
    if "-c" in words[:5]:  # the launcher, which becomes the process in a moment
        return None
    if found := WORKER.search(line):
        return found[1]
    if " beat " in line:
        return "beat"
    if line.endswith(" up") or "bench.null.up" in line:
        return "up"
    return next((role for mark, role in MARKS.items() if mark in line), None)
