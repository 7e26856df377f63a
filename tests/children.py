"""Watching decoder children at work."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path


def written_bytes(pid: int) -> int:
    """How much a child has written of the crop it encodes; the only file it has that is on a disk and nameless."""
    sizes = [0]
    for descriptor in Path(f"/proc/{pid}/fd").iterdir():
        try:
            target = str(descriptor.readlink())
            if target.endswith("(deleted)") and "memfd" not in target:
                sizes.append(descriptor.stat().st_size)
        except OSError:  # closed meanwhile
            continue
    return max(sizes)


def wait_until(condition: Callable[[], bool], seconds: float = 60.0) -> None:
    """Look every two milliseconds."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it never came to pass"
        time.sleep(0.002)


def is_caught_writing(pid: int) -> bool:
    """Wait until a child writes its crop; False if it was faster than we looked, and has ended."""
    try:
        wait_until(lambda: written_bytes(pid) > 0)
    except FileNotFoundError:
        return False
    return True
