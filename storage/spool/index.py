"""The index of the spool: its files, whether each is complete or being written, and their leases.

SQLite in WAL mode: the processes of a node share it, and a process killed inside a transaction leaves no trace.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from storage.errors import SpoolFull, UsageError
from storage.spool.files import SpoolUnavailable

WRITING: Final = "writing"  # its bytes are reserved
WHOLE: Final = "whole"
DOOMED: Final = "doomed"  # found corrupt: no new leases, present holders may finish

# A file's id is part of its name: a new download of a key does not disturb the readers of the old file.
# A spool holds tens of thousands of files, so no step of a row may read them all: their sums are kept by triggers.
_SCHEMA = """
BEGIN IMMEDIATE;
CREATE TABLE IF NOT EXISTS files (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  key TEXT NOT NULL,
  size_bytes INTEGER NOT NULL CHECK (size_bytes >= 0),
  state TEXT NOT NULL CHECK (state IN ('writing', 'whole', 'doomed')),
  used_at REAL NOT NULL
);
CREATE UNIQUE INDEX IF NOT EXISTS one_current_file_per_key ON files (key) WHERE state <> 'doomed';
CREATE INDEX IF NOT EXISTS files_by_use ON files (used_at, id);
CREATE TABLE IF NOT EXISTS leases (
  file_id INTEGER NOT NULL REFERENCES files (id) ON DELETE CASCADE,
  holder TEXT NOT NULL,
  expires_at REAL NOT NULL,
  PRIMARY KEY (file_id, holder)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS leases_by_holder ON leases (holder);
CREATE INDEX IF NOT EXISTS files_by_state ON files (state) WHERE state <> 'whole';
CREATE TABLE IF NOT EXISTS sums (state TEXT PRIMARY KEY, files INTEGER NOT NULL, bytes INTEGER NOT NULL) WITHOUT ROWID;
INSERT OR IGNORE INTO sums
  SELECT state, count(id), coalesce(sum(size_bytes), 0)
  FROM (SELECT 'writing' AS state UNION SELECT 'whole' UNION SELECT 'doomed') LEFT JOIN files USING (state)
  GROUP BY state;
CREATE TRIGGER IF NOT EXISTS sum_inserted AFTER INSERT ON files BEGIN
  UPDATE sums SET files = files + 1, bytes = bytes + NEW.size_bytes WHERE state = NEW.state;
END;
CREATE TRIGGER IF NOT EXISTS sum_deleted AFTER DELETE ON files BEGIN
  UPDATE sums SET files = files - 1, bytes = bytes - OLD.size_bytes WHERE state = OLD.state;
END;
CREATE TRIGGER IF NOT EXISTS sum_changed AFTER UPDATE OF state, size_bytes ON files BEGIN
  UPDATE sums SET files = files - 1, bytes = bytes - OLD.size_bytes WHERE state = OLD.state;
  UPDATE sums SET files = files + 1, bytes = bytes + NEW.size_bytes WHERE state = NEW.state;
END;
COMMIT;
"""
_IS_LEASED = "EXISTS (SELECT 1 FROM leases WHERE file_id = files.id AND expires_at > :now)"
_COLUMNS = "id, key, size_bytes, state"


@dataclass(frozen=True, slots=True)
class SpoolEntry:
    """A row of the index."""

    id: int
    key: str
    size_bytes: int
    state: str

    @property
    def name(self) -> str:
        """The file's name in the spool's directory."""
        return f"{self.key}-{self.id}"


@dataclass(frozen=True, slots=True)
class Totals:
    """Sums over the index. ``used_bytes`` includes ``evictable_bytes``."""

    used_bytes: int
    reserved_bytes: int
    evictable_bytes: int
    files: int
    leases: int

    def shortfall_bytes(self, size_bytes: int, limit_bytes: int) -> int:
        """Return the bytes to evict before ``size_bytes`` more fit; zero or less when they fit now."""
        return self.used_bytes + self.reserved_bytes + size_bytes - limit_bytes


class SpoolIndex:
    """The connection of one process to the index, shared by its threads. Open it after a fork, never before."""

    def __init__(self, path: Path, *, busy_seconds: float = 30) -> None:
        self.path = path
        self._lock = threading.Lock()
        self._pid = os.getpid()
        if path.is_symlink():
            raise UsageError(f"the spool's index {path} is a symlink; delete it, or name another spool directory")
        with self._faults():
            self._connection = sqlite3.connect(path, timeout=busy_seconds, check_same_thread=False)
            self._connection.isolation_level = None  # transactions are explicit
            self._connection.execute("PRAGMA journal_mode = WAL")
            self._connection.execute("PRAGMA synchronous = NORMAL")  # a file's size is checked before each lease
            self._connection.execute("PRAGMA foreign_keys = ON")
            self._connection.executescript(_SCHEMA)

    @contextlib.contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Hold a write transaction, one at a time on the node; commit it unless the block raises."""
        if os.getpid() != self._pid:
            raise RuntimeError(f"the spool index {self.path} was opened before a fork; open it in the child")
        with self._lock, self._faults():
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield self._connection
                self._connection.execute("COMMIT")
            finally:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")

    def close(self) -> None:
        """Close the connection. Idempotent."""
        with self._lock:
            self._connection.close()

    @contextlib.contextmanager
    def _faults(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.IntegrityError, sqlite3.ProgrammingError):
            raise  # a bug of the spool
        except sqlite3.DatabaseError as error:
            remedy = f"free its disk, or stop this node's workers and delete {self.path.parent} (it is a cache)"
            code = getattr(error, "sqlite_errorcode", None)  # absent on errors of Python's own
            fault = SpoolFull if code == sqlite3.SQLITE_FULL else SpoolUnavailable
            raise fault(f"spool index {self.path}: {error}; {remedy}") from error


def current(connection: sqlite3.Connection, key: str) -> SpoolEntry | None:
    """Find the key's file that is whole or being written."""
    return _first(connection, "WHERE key = :key AND state <> 'doomed'", {"key": key})


def oldest_unleased(connection: sqlite3.Connection, now: float) -> SpoolEntry | None:
    """Find the file to evict next: doomed files first, then the least recently used."""
    where = f"WHERE state <> 'writing' AND NOT {_IS_LEASED} ORDER BY used_at, id LIMIT 1"
    return _first(connection, where, {"now": now})


def doomed_unleased(connection: sqlite3.Connection, now: float) -> list[SpoolEntry]:
    """Return the doomed files without a lease."""
    where = f"WHERE state <> 'whole' AND state = 'doomed' AND NOT {_IS_LEASED}"  # the first term names the index
    return _select(connection, where, {"now": now})


def entries(connection: sqlite3.Connection, state: str) -> list[SpoolEntry]:
    """Return every file in this state."""
    return _select(connection, "WHERE state = :state", {"state": state})


def totals(connection: sqlite3.Connection, now: float) -> Totals:
    """Sum sizes, files and unexpired leases."""
    row = connection.execute(
        """WITH leased AS (SELECT DISTINCT file_id FROM leases WHERE expires_at > :now)
           SELECT sum(bytes) FILTER (WHERE state <> 'writing'),
                  sum(bytes) FILTER (WHERE state = 'writing'),
                  sum(bytes) FILTER (WHERE state <> 'writing') -
                    (SELECT coalesce(sum(size_bytes), 0) FROM leased CROSS JOIN files ON id = file_id
                     WHERE state <> 'writing'),
                  sum(files) FILTER (WHERE state <> 'writing'),
                  (SELECT count(*) FROM leases WHERE expires_at > :now)
           FROM sums""",
        {"now": now},
    ).fetchone()
    return Totals(*row)


def reserve(connection: sqlite3.Connection, key: str, size_bytes: int, now: float) -> SpoolEntry:
    """Insert a file that is about to be written."""
    values = (key, size_bytes, WRITING, now)
    cursor = connection.execute("INSERT INTO files (key, size_bytes, state, used_at) VALUES (?, ?, ?, ?)", values)
    if cursor.lastrowid is None:
        raise RuntimeError("SQLite gave no row id for an INSERT")
    return SpoolEntry(cursor.lastrowid, key, size_bytes, WRITING)


def publish(connection: sqlite3.Connection, entry: SpoolEntry, now: float) -> bool:
    """Mark a written file as whole; false when its reservation is gone."""
    update = "UPDATE files SET state = 'whole', used_at = ? WHERE id = ? AND state = 'writing'"
    return connection.execute(update, (now, entry.id)).rowcount == 1


def doom(connection: sqlite3.Connection, entry: SpoolEntry) -> None:
    """Mark the file as corrupt: it gets no new leases, present holders keep it."""
    connection.execute("UPDATE files SET state = 'doomed', used_at = 0 WHERE id = ?", (entry.id,))


def delete(connection: sqlite3.Connection, entry: SpoolEntry) -> None:
    """Delete the file's row and its leases."""
    connection.execute("DELETE FROM files WHERE id = ?", (entry.id,))


def is_writing(connection: sqlite3.Connection, entry: SpoolEntry) -> bool:
    """Return True while the reservation exists."""
    found = _first(connection, "WHERE id = :id AND state = 'writing'", {"id": entry.id})
    return found is not None


def grant_lease(
    connection: sqlite3.Connection, entry: SpoolEntry, holder: str, now: float, lease_seconds: float
) -> None:
    """Grant or renew the holder's lease."""
    upsert = """INSERT INTO leases (file_id, holder, expires_at) VALUES (?, ?, ?)
                ON CONFLICT DO UPDATE SET expires_at = excluded.expires_at"""
    connection.execute(upsert, (entry.id, holder, now + lease_seconds))
    connection.execute("UPDATE files SET used_at = ? WHERE id = ?", (now, entry.id))


def end_leases(connection: sqlite3.Connection, holder: str, now: float, key: str | None = None) -> None:
    """End the holder's lease on the key, or all leases of the holder; their files count as used now."""
    held = "SELECT file_id FROM leases JOIN files ON files.id = file_id WHERE holder = :holder AND :key IN (key, '*')"
    values = {"holder": holder, "key": key or "*", "now": now}
    connection.execute(f"UPDATE files SET used_at = :now WHERE state = 'whole' AND id IN ({held})", values)  # noqa: S608 - a constant
    connection.execute(f"DELETE FROM leases WHERE holder = :holder AND file_id IN ({held})", values)  # noqa: S608 - a constant


def holders(connection: sqlite3.Connection) -> list[str]:
    """Return every holder of a lease, expired or not."""
    return [holder for (holder,) in connection.execute("SELECT DISTINCT holder FROM leases")]


def end_expired_leases(connection: sqlite3.Connection, now: float) -> int:
    """Delete the expired leases; return their number."""
    return connection.execute("DELETE FROM leases WHERE expires_at <= ?", (now,)).rowcount


def _first(connection: sqlite3.Connection, where: str, values: dict[str, str | float]) -> SpoolEntry | None:
    found = _select(connection, where, values)
    return found[0] if found else None


def _select(connection: sqlite3.Connection, where: str, values: dict[str, str | float]) -> list[SpoolEntry]:
    rows = connection.execute(f"SELECT {_COLUMNS} FROM files {where}", values)  # noqa: S608 - constants of this module
    return [SpoolEntry(*row) for row in rows]
