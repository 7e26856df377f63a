"""Rotation of log files that other processes write."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

MOST_BYTES = 64 * 1024**2  # of one log file
KEPT_FILES = 3  # beside the one that is written


def rotate(path: Path, *, most_bytes: int = MOST_BYTES, kept: int = KEPT_FILES) -> bool:
    """Copy a file that has grown too large to ``<name>.1`` and empty it; return whether that was done.

    ``<name>.1`` becomes ``<name>.2`` and so on; the oldest is dropped. The file itself stays, because its writer has it
    open (for appending). A line that is written between copy and emptying is lost.
    """
    if not path.exists() or path.stat().st_size <= most_bytes:
        return False
    for number in range(kept - 1, 0, -1):
        older = numbered(path, number)
        if older.exists():
            older.replace(numbered(path, number + 1))
    shutil.copyfile(path, numbered(path, 1))
    os.truncate(path, 0)
    return True


def numbered(path: Path, number: int) -> Path:
    """Return the path of an older file: ``io.log.1``."""
    return path.with_name(f"{path.name}.{number}")
