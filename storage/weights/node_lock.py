"""One download per node: a file lock that tells those who wait who holds it, and how far that one is.

The kernel frees the lock when its holder dies, however it dies. The lock's file is never removed: a lock on a file
that is gone would exclude nobody.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import logging
import os
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from storage.errors import Unavailable

log = logging.getLogger(__name__)

NOTE_BYTES = 4096  # one page: written and read at once
LOOK_SECONDS = 0.1  # between two tries to get the lock
MIB = 1 << 20


@dataclass(frozen=True, slots=True)
class Note:
    """What the holder wrote last."""

    pid: int
    done_bytes: int = 0
    total_bytes: int = 0
    refusal: str = ""  # why its download was thrown away

    def __str__(self) -> str:
        """Who, and how far."""
        if not self.total_bytes:
            return f"process {self.pid}"
        share = 100 * self.done_bytes // self.total_bytes
        return f"process {self.pid} ({self.done_bytes / MIB:.0f} of {self.total_bytes / MIB:.0f} MiB, {share} %)"


@dataclass(frozen=True, slots=True)
class Held:
    """The lock, held. ``predecessor`` is the last note of the holder that was waited for; None without a wait."""

    descriptor: int
    predecessor: Note | None

    def tell(self, note: Note) -> None:
        """Say how far this holder is."""
        text = json.dumps(asdict(note)).encode()[:NOTE_BYTES]
        os.pwrite(self.descriptor, text.ljust(NOTE_BYTES), 0)


@contextlib.contextmanager
def node_lock(path: Path, what: str, *, patience_seconds: float, notice_seconds: float) -> Iterator[Held]:
    """Hold the lock for the block; others wait, and log every ``notice_seconds`` whom they wait for.

    Raises:
        Unavailable: the holder made no progress for ``patience_seconds``.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        is_late = _wait(descriptor, what, patience_seconds, notice_seconds)
        held = Held(descriptor, read_note(descriptor) if is_late else None)
        held.tell(Note(os.getpid()))
        yield held
    finally:
        os.close(descriptor)  # frees the lock


def _wait(descriptor: int, what: str, patience_seconds: float, notice_seconds: float) -> bool:
    """Whether somebody else held the lock first."""
    if _take(descriptor):
        return False
    seen = read_note(descriptor)
    progressed_at = noticed_at = time.monotonic()
    log.info("%s: waiting for %s on this node", what, seen or "another process")
    while not _take(descriptor):
        time.sleep(LOOK_SECONDS)
        now, note = time.monotonic(), read_note(descriptor)
        if note != seen:
            seen, progressed_at = note, now
        if now - noticed_at >= notice_seconds:
            noticed_at = now
            log.info("%s: still waiting for %s on this node", what, seen or "another process")
        if now - progressed_at >= patience_seconds:
            raise Unavailable(
                f"{what}: {seen or 'another process'} holds {_path_of(descriptor)} and made no progress for "
                f"{patience_seconds:g} s; see what it does, or end it: the next one goes on where it stopped"
            )
    return True


def _take(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def read_note(descriptor: int) -> Note | None:
    """What the last holder wrote; None when it has written nothing yet."""
    try:
        return Note(**json.loads(os.pread(descriptor, NOTE_BYTES, 0)))
    except (ValueError, TypeError):
        return None


def _path_of(descriptor: int) -> str:
    return str(Path(f"/proc/self/fd/{descriptor}").readlink())
