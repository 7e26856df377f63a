"""Paths opened one segment at a time: no symlink or rename below the root can lead outside the root."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Iterator

from storage.errors import ForbiddenPath, ObjectMissing, StorageError, Unavailable
from storage.uri import ObjectUri

_LOOK = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC  # opens no content: a FIFO cannot block, a device is not touched
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_NOT_THERE = frozenset({errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG})
_NO_PLACE_FOR_A_FILE = frozenset({errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG, errno.ELOOP})


@contextlib.contextmanager
def parent_of(root: int, uri: ObjectUri, *, create: bool = False) -> Iterator[tuple[int, bytes]]:
    """Open the directory of the object; yield its descriptor and the object's name in it."""
    *directories, name = _segments(uri)
    with contextlib.ExitStack() as opened:
        parent = root
        for segment in directories:
            if create:
                _make_directory(segment, parent)
            parent = _enter(uri, segment, parent)
            opened.callback(os.close, parent)
        yield parent, name


def stat_entry(name: bytes, parent: int) -> os.stat_result:
    """Stat the directory entry; a symlink is not followed."""
    return os.stat(name, dir_fd=parent, follow_symlinks=False)


def check_regular(uri: ObjectUri, found: os.stat_result) -> os.stat_result:
    """Return ``found`` if it is a regular file; ``ForbiddenPath`` for a symlink, ``ObjectMissing`` otherwise."""
    if stat.S_ISLNK(found.st_mode):
        raise ForbiddenPath(f"{uri} is a symlink; symlinks are not followed")
    if not stat.S_ISREG(found.st_mode):
        raise ObjectMissing(f"{uri} is not a regular file")
    return found


def open_regular(uri: ObjectUri, name: bytes, parent: int) -> int:
    """Open a regular file for reading and return its descriptor."""
    check_regular(uri, stat_entry(name, parent))  # opening a device may have an effect
    descriptor = os.open(name, _READ, dir_fd=parent)
    try:
        check_regular(uri, os.fstat(descriptor))  # it may have been replaced since
    except StorageError:
        os.close(descriptor)
        raise
    return descriptor


def sync_directory(directory: int) -> None:
    """Sync the directory's entries to the disk."""
    descriptor = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=directory)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def read_fault(error: OSError, what: str) -> StorageError:
    """Translate an error of a read into a storage error."""
    if error.errno == errno.ELOOP:
        return ForbiddenPath(f"{what}: symlinks are not followed")
    if error.errno in _NOT_THERE:
        return ObjectMissing(f"{what}: {error.strerror}")
    return Unavailable(f"{what}: {error.strerror or error}")


def write_fault(error: OSError, what: str) -> StorageError:
    """Translate an error of a write into a storage error."""
    if error.errno in _NO_PLACE_FOR_A_FILE:
        return ForbiddenPath(f"{what}: {error.strerror}; no object can be stored there")
    return Unavailable(f"{what}: {error.strerror or error}")


def _segments(uri: ObjectUri) -> list[bytes]:
    try:
        segments = [part.encode() for part in (uri.bucket, *uri.key.split("/"))]
    except UnicodeEncodeError as error:
        raise ForbiddenPath(f"{uri!r} is not valid Unicode") from error
    for segment in segments:
        if segment in {b"", b".", b".."} or b"\0" in segment or b"/" in segment:
            raise ForbiddenPath(f"{uri!r} has a segment that may lead elsewhere: {segment!r}")
    return segments


def _enter(uri: ObjectUri, segment: bytes, parent: int) -> int:
    descriptor = os.open(segment, _LOOK, dir_fd=parent)
    mode = os.fstat(descriptor).st_mode
    if stat.S_ISDIR(mode):
        return descriptor
    os.close(descriptor)
    if stat.S_ISLNK(mode):
        raise ForbiddenPath(f"{uri}: {segment!r} is a symlink; symlinks are not followed")
    raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), segment)


def _make_directory(segment: bytes, parent: int) -> None:
    with contextlib.suppress(FileExistsError):
        os.mkdir(segment, dir_fd=parent)
        sync_directory(parent)
