"""Claims of videos by processes that write into one folder: each video is worked on by one of them at a time.

A claim is a lock on one byte of ``.claims``, chosen by the video's name. The system releases it when the process dies.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self

CLAIMS_NAME = ".claims"
POLL_SECONDS = 0.1  # a blocking wait by several threads can look like a deadlock to the kernel, which refuses it


class Claims:
    """This process's claims in a folder. Open it once in a process: closing any copy releases every claim."""

    def __init__(self, root: Path) -> None:
        self._descriptor = os.open(root / CLAIMS_NAME, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)

    def __enter__(self) -> Self:
        """Return the claims."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Release every claim."""
        os.close(self._descriptor)

    @contextmanager
    def claimed(self, video: str, *, waits: bool) -> Iterator[bool]:
        """Claim a video for the block; False when another process has it. With ``waits`` it is asked for until free."""
        place = _place(video)
        while not self._take(place):
            if not waits:
                yield False
                return
            time.sleep(POLL_SECONDS)
        try:
            yield True
        finally:
            fcntl.lockf(self._descriptor, fcntl.LOCK_UN, 1, place)

    def _take(self, place: int) -> bool:
        try:
            fcntl.lockf(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, place)
        except (BlockingIOError, PermissionError):
            return False
        return True


def _place(video: str) -> int:
    return int.from_bytes(hashlib.sha256(video.encode()).digest()[:7])
