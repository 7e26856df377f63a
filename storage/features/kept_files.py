"""Large values of the feature cache as files on this node, in a number of bytes: the least recently used goes first.

Several processes share the directory. A process that writes holds its lock, so the one unfinished file that a killed
process can leave is overwritten by the next. Whether a value is sound is for its reader to check.
"""

from __future__ import annotations

import fcntl
import mmap
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

SUFFIX = ".features"
LOCK_NAME, UNFINISHED_NAME = ".lock", ".unfinished"
LOCK_WAIT_SECONDS = 5.0  # then the value is left out: it can be computed again
POLL_SECONDS = 0.02


class KeptFiles:
    """Values by name, each in a file of ``root``; a value is read through a private memory map."""

    def __init__(self, root: Path, limit_bytes: int) -> None:
        self._root, self._limit_bytes = root, limit_bytes

    def get(self, name: str) -> mmap.mmap | None:
        """Return the value, or None. Raises OSError when the disk fails."""
        path = self._path(name)
        try:
            with path.open("rb") as file:
                os.utime(file.fileno())  # used now; readers do not take the lock
                return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)
        except (FileNotFoundError, ValueError):  # ValueError: the file is empty
            return None

    def put(self, name: str, *parts: bytes) -> bool:
        """Keep a value, given in parts, and remove others where the limit asks for it; False when it was left out.

        Raises OSError when the disk is full or fails.
        """
        size_bytes = sum(map(len, parts))
        if size_bytes > self._limit_bytes:
            return False
        self._root.mkdir(mode=0o700, parents=True, exist_ok=True)
        with self._locked() as is_ours:
            if is_ours:
                self._make_room(size_bytes)
                self._write(self._path(name), parts)
            return is_ours

    def _write(self, path: Path, parts: tuple[bytes, ...]) -> None:
        unfinished = self._root / UNFINISHED_NAME
        try:
            with unfinished.open("wb") as file:  # not synced: a reader finds out about a torn file
                for part in parts:
                    file.write(part)
            unfinished.replace(path)
        except OSError:
            unfinished.unlink(missing_ok=True)
            raise

    def _make_room(self, size_bytes: int) -> None:
        found = [(status.st_mtime_ns, status.st_size, path) for path, status in self._files()]
        used_bytes = sum(size for _, size, _ in found)
        for _, size, path in sorted(found):
            if used_bytes + size_bytes <= self._limit_bytes:
                return
            path.unlink(missing_ok=True)  # one that is being read stays mapped until then
            used_bytes -= size

    def _files(self) -> Iterator[tuple[Path, os.stat_result]]:
        for path in self._root.glob(f"*{SUFFIX}"):
            with suppress(FileNotFoundError):
                yield path, path.stat()

    def _path(self, name: str) -> Path:
        return self._root / f"{name}{SUFFIX}"

    @contextmanager
    def _locked(self) -> Iterator[bool]:
        deadline = time.monotonic() + LOCK_WAIT_SECONDS
        with (self._root / LOCK_NAME).open("a") as lock:
            while not _take(lock.fileno()):
                if time.monotonic() > deadline:
                    yield False
                    return
                time.sleep(POLL_SECONDS)
            yield True


def _take(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
