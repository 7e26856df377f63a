"""One download per node: a file lock that shows its holder's progress to the waiting processes.

The kernel frees the lock when its holder dies, for whatever reason. The lock's file is never removed: a lock on a
removed file would exclude no other process.
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

NOTE_BYTES = 4096  # one page: written and read in one call
POLL_SECONDS = 0.1  # between two attempts to take the lock
MIB = 1 << 20


@dataclass(frozen=True, slots=True)
class Note:
    """The state of the holder's download, as the holder wrote it last."""

    pid: int
    done_bytes: int = 0
    total_bytes: int = 0
    refusal: str = ""  # the reason why its download was deleted

    def __str__(self) -> str:
        """The holder's process id, and its progress."""
        if not self.total_bytes:
            return f"process {self.pid}"
        share = 100 * self.done_bytes // self.total_bytes
        return f"process {self.pid} ({self.done_bytes / MIB:.0f} of {self.total_bytes / MIB:.0f} MiB, {share} %)"


@dataclass(frozen=True, slots=True)
class Held:
    """The lock, held. ``predecessor`` is the last note of the previous holder; None if there was no wait."""

    descriptor: int
    predecessor: Note | None

    def write_note(self, note: Note) -> None:
        """Write the progress of this holder into the lock's file."""
        text = json.dumps(asdict(note)).encode()[:NOTE_BYTES]
        os.pwrite(self.descriptor, text.ljust(NOTE_BYTES), 0)


@contextlib.contextmanager
def node_lock(path: Path, what: str, *, patience_seconds: float, notice_seconds: float) -> Iterator[Held]:
    """Hold the lock for the block; the other processes wait, and log the holder every ``notice_seconds``.

    Raises:
        Unavailable: the holder made no progress for ``patience_seconds``.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        is_late = _wait(descriptor, what, patience_seconds, notice_seconds)
        held = Held(descriptor, read_note(descriptor) if is_late else None)
        held.write_note(Note(os.getpid()))
        yield held
    finally:
        os.close(descriptor)  # frees the lock


def _wait(descriptor: int, what: str, patience_seconds: float, notice_seconds: float) -> bool:
    """Wait for the lock; return True if another process held it first."""
    if _take(descriptor):
        return False
    seen = read_note(descriptor)
    progressed_at = noticed_at = time.monotonic()
    log.info("%s: waiting for %s on this node", what, seen or "another process")
    while not _take(descriptor):
        time.sleep(POLL_SECONDS)
        now, note = time.monotonic(), read_note(descriptor)
        if note != seen:
            seen, progressed_at = note, now
        if now - noticed_at >= notice_seconds:
            noticed_at = now
            log.info("%s: still waiting for %s on this node", what, seen or "another process")
        if now - progressed_at >= patience_seconds:
            raise Unavailable(
                f"{what}: {seen or 'another process'} holds {_path_of(descriptor)} and made no progress for "
                f"{patience_seconds:g} s; check that process, or end it: the next one continues its download"
            )
    return True


def _take(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def read_note(descriptor: int) -> Note | None:
    """Return the last holder's note; None when it has written none yet."""
    try:
        return Note(**json.loads(os.pread(descriptor, NOTE_BYTES, 0)))
    except (ValueError, TypeError):
        return None


def _path_of(descriptor: int) -> str:
    return str(Path(f"/proc/self/fd/{descriptor}").readlink())
