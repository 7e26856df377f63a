"""Observation of decoder child processes, and waiting for observed states."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path


def written_bytes(pid: int) -> int:
    """Return the bytes that a child has written of its crop, which is its only unnamed file on a disk."""
    sizes = [0]
    for descriptor in Path(f"/proc/{pid}/fd").iterdir():
        try:
            target = str(descriptor.readlink())
            if target.endswith("(deleted)") and "memfd" not in target:
                sizes.append(descriptor.stat().st_size)
        except OSError:  # closed since
            continue
    return max(sizes)


def wait_until(condition: Callable[[], bool], seconds: float = 60.0) -> None:
    """Wait until the condition is true; it is evaluated every two milliseconds."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds:g} s"
        time.sleep(0.002)


def is_caught_writing(pid: int) -> bool:
    """Wait until a child writes its crop; False if the child ended before it was observed."""
    try:
        wait_until(lambda: written_bytes(pid) > 0)
    except FileNotFoundError:
        return False
    return True
