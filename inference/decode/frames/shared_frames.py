"""Frames in anonymous memory that one process fills and another maps. The kernel frees it when both have ended."""

from __future__ import annotations

import fcntl
import mmap
import os
import tempfile
from collections.abc import Sequence
from contextlib import suppress

import numpy as np

from inference.decode.limits import frame_bytes
from inference.types import Frames, PictureSpec

Layout = Sequence[tuple[PictureSpec, int]]  # the pictures in order, with their numbers of frames


def create(layout: Layout) -> int:
    """Return a file descriptor of anonymous memory large enough for the pictures."""
    descriptor = _anonymous()
    os.ftruncate(descriptor, max(1, total_bytes(layout)))
    return descriptor


def map_pictures(descriptor: int, layout: Layout) -> dict[PictureSpec, Frames]:
    """Map the pictures as writable uint8 arrays (frames, height, width, 3).

    The memory is freed with the last array; the descriptor may be closed at once. Raises ValueError if the
    memory is smaller than the layout.
    """
    needed = total_bytes(layout)
    if os.fstat(descriptor).st_size < needed:
        raise ValueError(f"the decoder handed over fewer than the {needed} bytes it announced")
    mapped = mmap.mmap(descriptor, max(1, needed))
    pictures: dict[PictureSpec, Frames] = {}
    offset = 0
    for spec, count in layout:
        length = count * frame_bytes(spec)
        flat = np.frombuffer(mapped, dtype=np.uint8, count=length, offset=offset)
        pictures[spec] = flat.reshape(count, spec.height, spec.width, 3)
        offset += length
    return pictures


def forbid_shrinking(descriptor: int) -> None:
    """Seal the size, so that no other process can remove mapped memory, which would raise SIGBUS here."""
    with suppress(OSError):  # a temporary file, used where memfd is forbidden, has no seals
        fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK)


def total_bytes(layout: Layout) -> int:
    """Bytes of all pictures."""
    return sum(count * frame_bytes(spec) for spec, count in layout)


def _anonymous() -> int:
    try:
        return os.memfd_create("tamis-frames", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    except OSError:  # forbidden by some container sandboxes
        with tempfile.TemporaryFile(prefix="tamis-frames-") as unlinked:
            return os.dup(unlinked.fileno())
