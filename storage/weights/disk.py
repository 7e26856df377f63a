"""Errors of the weights directory's own disk, as distinct from errors of the store."""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Iterator
from pathlib import Path

from storage.errors import Unavailable

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


@contextlib.contextmanager
def weights_disk_faults(path: Path) -> Iterator[None]:
    """Translate an ``OSError`` into ``Unavailable`` with the path and a remedy."""
    try:
        yield
    except OSError as error:
        raise Unavailable(f"weights {path}: {error.strerror or error}; {_remedy(error)}") from error


def _remedy(error: OSError) -> str:
    if error.errno in _FULL:
        return "free space there, or set TAMIS_WEIGHTS_DIR to a larger disk"
    return "set TAMIS_WEIGHTS_DIR to a healthy local directory that this user may write"
