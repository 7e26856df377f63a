"""The spool: a cache of downloaded videos on a node, limited in bytes, with leases. It never has the only copy.

Several processes share one directory. Whenever one of them dies, these hold: used plus reserved bytes stay within the
limit, a returned path names a whole file, one download per key runs at a time, and a leased file is not evicted.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self, cast

from storage.errors import ObjectTooLarge, SpoolFull, Unavailable
from storage.spool import index
from storage.spool.files import (
    KEY,
    PartFile,
    SpoolUnavailable,
    discard,
    exists,
    is_being_written,
    is_stray,
    is_whole,
    open_root,
    part_of,
    spool_disk_faults,
)
from storage.spool.index import SpoolEntry, SpoolIndex

INDEX_NAME = "index-1.sqlite3"  # a new schema takes a new name; reclaim then drops the files of the old one
_FIRST_PAUSE_SECONDS, _LONGEST_PAUSE_SECONDS = 0.01, 0.5


@dataclass(frozen=True, slots=True)
class SpoolUsage:
    """The usage of the spool; ``used_bytes + reserved_bytes <= limit_bytes``."""

    used_bytes: int
    reserved_bytes: int
    limit_bytes: int
    files: int
    leases: int
    evictable_bytes: int = 0  # of the used bytes, those without a lease


@dataclass(frozen=True, slots=True)
class _Reservation:
    entry: SpoolEntry
    part: PartFile


class Spool:
    """Files by hex digest. Thread-safe; open one per process, after any fork. ``clock`` is wall time in seconds."""

    def __init__(
        self, root: Path, *, limit_bytes: int, lease_seconds: float = 3600, clock: Callable[[], float] = time.time
    ) -> None:
        self.root = root.absolute()
        self.limit_bytes = limit_bytes
        self.lease_seconds = lease_seconds
        self._clock = clock
        opening = open_root(self.root)
        try:  # SQLite does not wait while another process switches to WAL: one opener at a time
            self._index = SpoolIndex(self.root / INDEX_NAME)
        finally:
            os.close(opening)

    def add(
        self, key: str, size_bytes: int, holder: str, write: Callable[[BinaryIO], None], *, timeout_seconds: float = 600
    ) -> Path:
        """Lease the key's file to the holder; if it is not there whole, ``write`` fills it first.

        Waits up to ``timeout_seconds`` for another download of the same key. Raises ``SpoolFull`` when the disk, or
        leased and reserved bytes, leave no room, ``ObjectTooLarge`` when an empty spool would not, ``ObjectCorrupt``
        when ``write`` gives another number of bytes, ``Unavailable`` for the disk. Errors of ``write`` pass through.
        """
        _check_key(key)
        deadline = time.monotonic() + timeout_seconds
        pause_seconds = _FIRST_PAUSE_SECONDS
        while (claim := self._claim(key, size_bytes, holder)) is None:
            if time.monotonic() >= deadline:
                raise SpoolUnavailable(f"another download of {key} into {self.root} took over {timeout_seconds:g} s")
            time.sleep(pause_seconds)
            pause_seconds = min(2 * pause_seconds, _LONGEST_PAUSE_SECONDS)
        return claim if isinstance(claim, Path) else self._fill(claim, holder, write)

    def lease(self, key: str, holder: str) -> Path | None:
        """Grant or renew a lease on the key's file; ``None`` when it is not there whole."""
        _check_key(key)
        with self._index.transaction() as connection:
            entry = index.current(connection, key)
            if entry is None or entry.state == index.WRITING:
                return None
            return self._lease_if_whole(connection, entry, holder)

    def release(self, key: str, holder: str) -> None:
        """End the holder's lease on the key, if it has one. The file is kept until its bytes are needed."""
        _check_key(key)
        with self._index.transaction() as connection:
            index.end_leases(connection, holder, self._clock(), key)
            self._drop_doomed(connection)

    def release_all(self, holder: str) -> None:
        """End every lease of the holder."""
        with self._index.transaction() as connection:
            index.end_leases(connection, holder, self._clock())
            self._drop_doomed(connection)

    def holders(self) -> list[str]:
        """Return every holder of a lease, killed ones included: a killed process releases no lease."""
        with self._index.transaction() as connection:
            return index.holders(connection)

    def remove(self, key: str) -> None:
        """Retire a file found corrupt: the next ``add`` downloads it again. Present holders may finish."""
        _check_key(key)
        with self._index.transaction() as connection:
            entry = index.current(connection, key)
            if entry is not None and entry.state == index.WHOLE:
                self._retire(connection, entry)

    def usage(self) -> SpoolUsage:
        """Return the usage now, over all processes of the node."""
        found = self._totals()
        return SpoolUsage(
            used_bytes=found.used_bytes,
            reserved_bytes=found.reserved_bytes,
            limit_bytes=self.limit_bytes,
            files=found.files,
            leases=found.leases,
            evictable_bytes=found.evictable_bytes,
        )

    def has_room(self, size_bytes: int) -> bool:
        """Return True if ``add`` would find room for ``size_bytes`` now, by evicting files without a lease."""
        found = self._totals()
        return found.shortfall_bytes(size_bytes, self.limit_bytes) <= found.evictable_bytes

    def reclaim(self) -> int:
        """Drop leftovers of crashes: dead reservations, expired leases, rows without files and files without rows.

        Also evicts files while the spool is over its limit. Returns the number of dropped things.
        """
        with self._index.transaction() as connection:
            dropped = index.end_expired_leases(connection, self._clock())
            dropped += self._drop_dead(connection)
            dropped += self._drop_broken(connection)
            dropped += self._drop_doomed(connection)
            dropped += self._drop_strays(connection)
            return dropped + self._evict(connection, 0)

    def close(self) -> None:
        """Close the index. Leases stay. Idempotent."""
        self._index.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _claim(self, key: str, size_bytes: int, holder: str) -> Path | _Reservation | None:
        """Return a lease, a reservation to fill, or ``None`` while another process or thread fills it."""
        with contextlib.ExitStack() as undo:
            with self._index.transaction() as connection:
                entry = index.current(connection, key)
                if entry is not None and entry.state == index.WRITING:
                    if is_being_written(part_of(self._path(entry))):
                        return None
                    self._drop(connection, entry)
                elif entry is not None and (path := self._lease_if_whole(connection, entry, holder, size_bytes)):
                    return path
                self._make_room(connection, key, size_bytes)
                reserved = index.reserve(connection, key, size_bytes, self._clock())
                # Created and locked before the row is visible, so that its writer is not taken for dead.
                part = undo.enter_context(PartFile(part_of(self._path(reserved)), size_bytes))
            undo.pop_all()
            return _Reservation(reserved, part)

    def _fill(self, reservation: _Reservation, holder: str, write: Callable[[BinaryIO], None]) -> Path:
        with reservation.part as part, contextlib.ExitStack() as undo:
            undo.callback(self._abandon, reservation.entry)
            write(cast("BinaryIO", part))
            part.finish()
            path = self._publish(reservation.entry, holder)
            undo.pop_all()
        return path

    def _publish(self, entry: SpoolEntry, holder: str) -> Path:
        path = self._path(entry)
        with self._index.transaction() as connection:
            if not index.publish(connection, entry, self._clock()):
                raise SpoolUnavailable(f"the reservation of {path} is gone; was {self.root} emptied while in use?")
            index.grant_lease(connection, entry, holder, self._clock(), self.lease_seconds)
            with spool_disk_faults(path):
                part_of(path).rename(path)
        return path

    def _abandon(self, entry: SpoolEntry) -> None:
        # If the index does not answer: closing the part ends its lock, and the next process short of room drops it.
        with contextlib.suppress(Unavailable), self._index.transaction() as connection:
            if index.is_writing(connection, entry):
                self._drop(connection, entry)

    def _lease_if_whole(
        self, connection: sqlite3.Connection, entry: SpoolEntry, holder: str, size_bytes: int | None = None
    ) -> Path | None:
        path = self._path(entry)
        if size_bytes in {None, entry.size_bytes} and is_whole(path, entry.size_bytes):
            index.grant_lease(connection, entry, holder, self._clock(), self.lease_seconds)
            return path
        self._retire(connection, entry)
        return None

    def _make_room(self, connection: sqlite3.Connection, key: str, size_bytes: int) -> None:
        if size_bytes > self.limit_bytes:
            asked = f"{key} of {size_bytes} bytes is over the spool's limit of {self.limit_bytes}"
            raise ObjectTooLarge(f"{asked}; raise the limit if such videos are to be judged")
        if not self._fits(connection, size_bytes):
            self._drop_dead(connection)
        if not self._fits(connection, size_bytes):
            found = index.totals(connection, self._clock())
            leased = f"{found.used_bytes - found.evictable_bytes} leased, {found.reserved_bytes} reserved"
            raise SpoolFull(f"no room for {size_bytes} bytes in {self.root}: {leased} of {self.limit_bytes} bytes")
        self._evict(connection, size_bytes)

    def _fits(self, connection: sqlite3.Connection, size_bytes: int) -> bool:
        found = index.totals(connection, self._clock())
        return found.shortfall_bytes(size_bytes, self.limit_bytes) <= found.evictable_bytes

    def _evict(self, connection: sqlite3.Connection, size_bytes: int) -> int:
        now = self._clock()
        shortfall_bytes = index.totals(connection, now).shortfall_bytes(size_bytes, self.limit_bytes)
        evicted = 0
        while shortfall_bytes > 0 and (entry := index.oldest_unleased(connection, now)):
            self._drop(connection, entry)
            shortfall_bytes -= entry.size_bytes
            evicted += 1
        return evicted

    def _drop_dead(self, connection: sqlite3.Connection) -> int:
        reserved = index.entries(connection, index.WRITING)
        dead = [entry for entry in reserved if not is_being_written(part_of(self._path(entry)))]
        return self._drop(connection, *dead)

    def _drop_broken(self, connection: sqlite3.Connection) -> int:
        whole, doomed = (index.entries(connection, state) for state in (index.WHOLE, index.DOOMED))
        broken = [entry for entry in whole if not is_whole(self._path(entry), entry.size_bytes)]
        broken += [entry for entry in doomed if not exists(self._path(entry))]
        for entry in broken:
            self._retire(connection, entry)
        return len(broken)

    def _retire(self, connection: sqlite3.Connection, entry: SpoolEntry) -> None:
        if exists(self._path(entry)):
            index.doom(connection, entry)
            self._drop_doomed(connection)
        else:
            self._drop(connection, entry)

    def _drop_doomed(self, connection: sqlite3.Connection) -> int:
        return self._drop(connection, *index.doomed_unleased(connection, self._clock()))

    def _drop_strays(self, connection: sqlite3.Connection) -> int:
        known = {entry.name for state in (index.WHOLE, index.DOOMED) for entry in index.entries(connection, state)}
        known |= {part_of(self._path(entry)).name for entry in index.entries(connection, index.WRITING)}
        with spool_disk_faults(self.root):
            strays = [path for path in self.root.iterdir() if path.name not in known and is_stray(path)]
            for path in strays:
                path.unlink(missing_ok=True)
        return len(strays)

    def _drop(self, connection: sqlite3.Connection, *dropped: SpoolEntry) -> int:
        for entry in dropped:
            discard(self._path(entry))  # before its row: bytes on the disk are always counted
            index.delete(connection, entry)
        return len(dropped)

    def _totals(self) -> index.Totals:
        with self._index.transaction() as connection:
            return index.totals(connection, self._clock())

    def _path(self, entry: SpoolEntry) -> Path:
        return self.root / entry.name


def _check_key(key: str) -> None:
    if not KEY.fullmatch(key):
        raise ValueError(f"spool keys are hex digests of 32 to 128 characters, not {key!r}")
