"""Files of the spool: every name is used once, and a part file is locked while its writer lives.

A writer is alive while the kernel holds its ``flock``. A process id would not do: ids are reused, and they differ
between the containers of one node.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import io
import os
import re
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from storage.errors import ObjectCorrupt, SpoolFull, Unavailable, UsageError

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

KEY = re.compile(r"[0-9a-f]{32,128}")
NAME = re.compile(r"[0-9a-f]{32,128}-[0-9]+(\.part)?")
PART_SUFFIX = ".part"
FULL = {errno.ENOSPC, errno.EDQUOT}


class SpoolUnavailable(Unavailable):
    """The node's spool failed, not a store: its disk is broken, or its index does not answer."""


@contextlib.contextmanager
def spool_disk_faults(path: Path) -> Iterator[None]:
    """Translate an ``OSError`` of the spool's disk: ``SpoolFull`` when it is full, else ``SpoolUnavailable``."""
    try:
        yield
    except OSError as error:
        remedy = "free space on its disk, lower the spool's byte limit, or move the spool to a healthy local disk"
        fault = SpoolFull if error.errno in FULL else SpoolUnavailable
        raise fault(f"spool file {path}: {error.strerror or error}; {remedy}") from error


def open_root(root: Path) -> int:
    """Create the directory (mode 0700) if it is missing; return its descriptor, locked against other openers."""
    with contextlib.suppress(FileExistsError):
        root.parent.mkdir(parents=True, exist_ok=True)
        root.mkdir(mode=0o700)
    try:
        descriptor = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError as error:
        fault = f"spool {root} is a symlink or not a directory ({error.strerror})"
        raise UsageError(f"{fault}; name another path") from error
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    return descriptor


class PartFile(io.FileIO):
    """A file being written: locked, unbuffered, and never longer than its reservation."""

    def __init__(self, path: Path, size_bytes: int) -> None:
        self.path = path
        self.size_bytes = size_bytes
        with spool_disk_faults(path):
            path.unlink(missing_ok=True)  # left over from a transaction that a crash rolled back
            flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            super().__init__(os.open(path, flags, 0o600), "r+b")
            fcntl.flock(self.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)

    def write(self, block: ReadableBuffer, /) -> int:
        """Write the whole block; a plain ``FileIO`` may write only a part of it on a full disk."""
        rest = memoryview(block).cast("B")
        length = len(rest)
        if self.tell() + length > self.size_bytes:
            raise ObjectCorrupt(f"more bytes arrived than the {self.size_bytes} that the store stated")
        with spool_disk_faults(self.path):
            while rest:
                rest = rest[super().write(rest) :]
        return length

    def finish(self) -> None:
        """Check the length and sync the bytes, so that a file under its final name is always complete."""
        with spool_disk_faults(self.path):
            written_bytes = os.fstat(self.fileno()).st_size
            if written_bytes != self.size_bytes:
                raise ObjectCorrupt(f"{written_bytes} bytes arrived where the store stated {self.size_bytes}")
            os.fsync(self.fileno())


def is_being_written(part: Path) -> bool:
    """Return True while a living process has this part file locked."""
    with spool_disk_faults(part):
        if not _is_regular(part):  # opening a FIFO would block; the spool never writes to a symlink
            return False
        try:
            descriptor = os.open(part, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        except FileNotFoundError:
            return False
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(descriptor)
        return False


def exists(path: Path) -> bool:
    """Return True if the path exists; a dangling symlink counts."""
    return _lstat(path) is not None


def is_whole(path: Path, size_bytes: int) -> bool:
    """Return True if the path is a regular file of exactly this size."""
    found = _lstat(path)
    return found is not None and stat.S_ISREG(found.st_mode) and found.st_size == size_bytes


def is_stray(path: Path) -> bool:
    """Return True if the name is one of the spool's and not a directory; the spool creates no directories."""
    found = _lstat(path) if NAME.fullmatch(path.name) else None
    return found is not None and not stat.S_ISDIR(found.st_mode)


def discard(path: Path) -> None:
    """Remove a file and its part file, if they exist."""
    with spool_disk_faults(path):
        path.unlink(missing_ok=True)
        part_of(path).unlink(missing_ok=True)


def part_of(path: Path) -> Path:
    """Return the path of the file while it is written."""
    return path.with_name(path.name + PART_SUFFIX)


def _is_regular(path: Path) -> bool:
    found = _lstat(path)
    return found is not None and stat.S_ISREG(found.st_mode)


def _lstat(path: Path) -> os.stat_result | None:
    with spool_disk_faults(path):
        try:
            return path.lstat()
        except FileNotFoundError:
            return None
