"""A directory as an object store: a CPFS mount, an Alluxio FUSE mount, or a plain directory in place of OSS."""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from storage.errors import ForbiddenPath, ObjectCorrupt, ObjectMissing, Unavailable
from storage.objects import safe_paths
from storage.objects.protocol import ListedObject, ObjectStat
from storage.uri import ObjectUri

BLOCK_BYTES = 1 << 20


class DirectoryStore:
    """Objects at ``root/bucket/key``. No symlink below the root is followed; the root itself may be one.

    A mount that hangs blocks the caller: file reads have no deadline in the kernel.
    """

    def __init__(self, root: Path) -> None:
        self.root = root.absolute()

    def stat(self, uri: ObjectUri) -> ObjectStat:
        """Return the size, and a version made of size, modification time and inode."""
        with self._read_faults(uri), self._root() as root, safe_paths.parent_of(root, uri) as (parent, name):
            return _stat(safe_paths.check_regular(uri, safe_paths.stat_entry(name, parent)))

    def fetch(self, uri: ObjectUri, stat: ObjectStat, into: BinaryIO) -> None:
        """Stream the file in blocks of 1 MiB. ``Unavailable`` when another file of that size replaced it."""
        with self._read_faults(uri), self._root() as root, safe_paths.parent_of(root, uri) as (parent, name):
            descriptor = safe_paths.open_regular(uri, name, parent)
        with os.fdopen(descriptor, "rb", buffering=0) as source:
            self._check_same(uri, stat, source.fileno())
            remaining_bytes = stat.size_bytes
            while block := self._read(uri, source.fileno()):
                remaining_bytes -= len(block)
                if remaining_bytes < 0:
                    raise ObjectCorrupt(f"{uri} in {self.root} has grown over its {stat.size_bytes} bytes while read")
                into.write(block)
            if remaining_bytes:
                raise ObjectCorrupt(f"{uri} in {self.root} ended {remaining_bytes} bytes short of {stat.size_bytes}")
            self._check_same(uri, stat, source.fileno())

    def read_range(self, uri: ObjectUri, stat: ObjectStat, start: int, length: int, into: BinaryIO) -> None:
        """Write ``length`` bytes from ``start`` on; ``Unavailable`` when ``stat`` describes another file."""
        if start < 0 or length < 0 or start + length > stat.size_bytes:
            raise ObjectCorrupt(f"{uri} has no bytes {start}…{start + length}: it has {stat.size_bytes}")
        with self._read_faults(uri), self._root() as root, safe_paths.parent_of(root, uri) as (parent, name):
            descriptor = safe_paths.open_regular(uri, name, parent)
        with os.fdopen(descriptor, "rb", buffering=0) as source:
            self._check_same(uri, stat, source.fileno())
            source.seek(start)
            remaining_bytes = length
            while remaining_bytes and (block := self._read(uri, source.fileno(), min(BLOCK_BYTES, remaining_bytes))):
                remaining_bytes -= len(block)
                into.write(block)
            self._check_same(uri, stat, source.fileno())
        if remaining_bytes:
            raise ObjectCorrupt(f"{uri} in {self.root} ended {remaining_bytes} bytes short of {start + length}")

    def list_objects(self, bucket: str, prefix: str) -> Iterator[ListedObject]:
        """Yield the regular files below ``root/bucket/prefix``; links and hidden files are left out."""
        top = self.root / bucket / prefix
        if not top.resolve().is_relative_to(self.root.resolve()):
            raise ForbiddenPath(f"oss://{bucket}/{prefix} leaves {self.root}")

        def fail(error: OSError) -> None:
            if isinstance(error, FileNotFoundError):
                return  # no object has this prefix, or it has gone since
            raise Unavailable(f"oss://{bucket}/{prefix} in {self.root} cannot be listed: {error}") from error

        for folder, names, files in os.walk(top, onerror=fail):
            names[:] = [name for name in names if not name.startswith(".")]
            for name in files:
                path = Path(folder) / name
                if not name.startswith(".") and path.is_file() and not path.is_symlink():
                    uri = ObjectUri(bucket, path.relative_to(self.root / bucket).as_posix())
                    yield ListedObject(uri, _stat(path.stat()))

    def put(self, path: Path, uri: ObjectUri) -> None:
        """Copy the file to a temporary name in the same directory, sync it, rename it; create missing directories."""
        with (
            path.open("rb") as source,
            self._write_faults(uri),
            self._root() as root,
            safe_paths.parent_of(root, uri, create=True) as (parent, name),
        ):
            if not _holds(parent, name, uri, source):
                _replace(parent, name, source)

    @contextlib.contextmanager
    def _root(self) -> Iterator[int]:
        try:
            descriptor = os.open(self.root, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as error:
            raise Unavailable(f"{self.root} is not mounted ({error.strerror}); mount it or correct the tier") from error
        try:
            yield descriptor
        finally:
            os.close(descriptor)

    def _read(self, uri: ObjectUri, descriptor: int, most_bytes: int = BLOCK_BYTES) -> bytes:
        with self._read_faults(uri):  # only the read: an error of ``into`` is not an error of this store
            return os.read(descriptor, most_bytes)

    def _check_same(self, uri: ObjectUri, stat: ObjectStat, descriptor: int) -> None:
        with self._read_faults(uri):
            now = _stat(os.fstat(descriptor))
        if now.size_bytes != stat.size_bytes:
            raise ObjectCorrupt(f"{uri} in {self.root} has {now.size_bytes} bytes instead of {stat.size_bytes}")
        if now.version != stat.version:
            raise Unavailable(f"{uri} in {self.root} was replaced while it was read; fetch it again")

    @contextlib.contextmanager
    def _read_faults(self, uri: ObjectUri) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise safe_paths.read_fault(error, f"{uri} in {self.root}") from error

    @contextlib.contextmanager
    def _write_faults(self, uri: ObjectUri) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise safe_paths.write_fault(error, f"{uri} in {self.root}") from error


def _stat(found: os.stat_result) -> ObjectStat:
    return ObjectStat(found.st_size, f"{found.st_size:x}-{found.st_mtime_ns:x}-{found.st_ino:x}")


def _holds(parent: int, name: bytes, uri: ObjectUri, source: BinaryIO) -> bool:
    """Compare the present file with ``source``: an equal file is kept, and so its version."""
    try:
        found = safe_paths.check_regular(uri, safe_paths.stat_entry(name, parent))
    except FileNotFoundError:
        return False
    except ObjectMissing as error:
        raise ForbiddenPath(f"{uri}: {error}; an object cannot replace it") from error
    if found.st_size != os.fstat(source.fileno()).st_size:
        return False
    with os.fdopen(safe_paths.open_regular(uri, name, parent), "rb") as present:
        is_equal = all(block == present.read(len(block)) for block in _blocks(source))
    source.seek(0)
    return is_equal


def _replace(parent: int, name: bytes, source: BinaryIO) -> None:
    part = f".{secrets.token_hex(8)}.part".encode()
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    with os.fdopen(os.open(part, flags, 0o666, dir_fd=parent), "wb") as target, contextlib.ExitStack() as undo:
        undo.callback(os.unlink, part, dir_fd=parent)
        for block in _blocks(source):
            target.write(block)
        target.flush()
        os.fsync(target.fileno())
        os.rename(part, name, src_dir_fd=parent, dst_dir_fd=parent)
        undo.pop_all()
    safe_paths.sync_directory(parent)


def _blocks(source: BinaryIO) -> Iterator[bytes]:
    while block := source.read(BLOCK_BYTES):
        yield block
