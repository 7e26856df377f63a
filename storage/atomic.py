"""Files that are complete or not there at all."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

from storage.errors import Unavailable


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Lend a path beside ``path``; the file written there takes its place at the end, or vanishes on an error.

    Raises ``Unavailable`` when the disk is full or refuses.
    """
    part = path.with_name(f".{uuid4().hex}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield part
        with part.open("rb") as written:
            os.fsync(written.fileno())
        part.replace(path)
        sync_directory(path.parent)
    except OSError as error:
        raise Unavailable(f"cannot write {path}: {error.strerror or error}") from error
    finally:
        part.unlink(missing_ok=True)


def sync_directory(path: Path) -> None:
    """Sync the directory's entries to the disk."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
