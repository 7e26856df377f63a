"""Digests of files, remembered in a note beside each file until the file changes."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

SUFFIX = ".verified"
BLOCK_BYTES = 1 << 20


def is_verified(path: Path, sha256: str) -> bool:
    """Return True if the file had this digest and has not changed since. Reads no content of the file."""
    try:
        return _note_of(path).read_text(encoding="utf-8") == _fingerprint(path, sha256)
    except (OSError, ValueError):  # absent, or not text
        return False


def remember(path: Path, sha256: str) -> None:
    """Remember that the file, as it is now, has this digest."""
    note = _note_of(path)
    partial = note.with_name(f".{note.name}.{os.getpid()}")
    partial.write_text(_fingerprint(path, sha256), encoding="utf-8")
    partial.replace(note)


def forget(path: Path) -> None:
    """Remove the file and its note."""
    for removed in (_note_of(path), path):
        removed.unlink(missing_ok=True)


def digest_of(path: Path) -> str:
    """Return the SHA-256 (hex) of the file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def has_crc64(path: Path, crc64: int | None) -> bool:
    """Return True if the file has the CRC-64/XZ that the store states, or if it states none."""
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


def _fingerprint(path: Path, sha256: str) -> str:
    found = path.lstat()
    return json.dumps(
        {"sha256": sha256, "size_bytes": found.st_size, "mtime_ns": found.st_mtime_ns, "inode": found.st_ino}
    )
