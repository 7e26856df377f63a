"""That a file has its digest, found out once and remembered beside it until the file changes."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from pathlib import Path

SUFFIX = ".verified"
BLOCK_BYTES = 1 << 20


def is_verified(path: Path, sha256: str) -> bool:
    """Whether the file was found to have this digest and has not changed since. Reads no byte of it."""
    try:
        return _note_of(path).read_text(encoding="utf-8") == _look(path, sha256)
    except (OSError, ValueError):  # not there, or not text
        return False


def remember(path: Path, sha256: str) -> None:
    """Remember that the file, as it stands there now, has this digest."""
    note = _note_of(path)
    partial = note.with_name(f".{note.name}.{os.getpid()}")
    partial.write_text(_look(path, sha256), encoding="utf-8")
    partial.replace(note)


def forget(path: Path) -> None:
    """Remove the file and what was remembered of it."""
    for gone in (_note_of(path), path):
        with contextlib.suppress(FileNotFoundError):
            gone.unlink()


def digest_of(path: Path) -> str:
    """SHA-256 (hex) of the file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def is_as_stated(path: Path, crc64: int | None) -> bool:
    """Whether the file has the CRC-64/XZ that the store states of the object; true where it states none."""
    if crc64 is None:
        return True
    from fastcrc import crc64 as algorithms  # a store that states checksums has it installed

    found = algorithms.xz(b"")
    with path.open("rb") as file:
        while block := file.read(BLOCK_BYTES):
            found = algorithms.xz(block, found)
    return found == crc64


def _note_of(path: Path) -> Path:
    return path.with_name(path.name + SUFFIX)


def _look(path: Path, sha256: str) -> str:
    found = path.lstat()
    return json.dumps(
        {"sha256": sha256, "size_bytes": found.st_size, "mtime_ns": found.st_mtime_ns, "inode": found.st_ino}
    )
