"""SQLite connections, names and errors, shared by input and output.

SQLite's locks need a local disk: two writers can corrupt a database on a network file system.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from storage.errors import StorageError, Unavailable, UsageError
from storage.uri import TableUrl

BUSY_TIMEOUT_SECONDS = 30.0  # wait for another process's lock, then Unavailable
MAX_NAMES_SHOWN = 20

_LATER = frozenset({  # the same call may succeed after a lock is freed, space is made or a mode is changed
    sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_READONLY,
    sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_NOMEM, sqlite3.SQLITE_PROTOCOL, sqlite3.SQLITE_PERM,
})  # fmt: skip
_WRONG = {
    sqlite3.SQLITE_NOTADB: "is not an SQLite database: name another file, or move this one away",
    sqlite3.SQLITE_CORRUPT: "is a damaged database: restore it, or recover its rows with the sqlite3 shell's .recover",
    sqlite3.SQLITE_CONSTRAINT: "has a constraint of its own that refuses the row: drop it, or name another table",
    sqlite3.SQLITE_ERROR: "refuses the statement: was a table or column changed meanwhile?",
}


@dataclass(frozen=True, slots=True)
class Column:
    """A column, from ``PRAGMA table_info``."""

    name: str
    is_required: bool  # NOT NULL without a default value and without a rowid


def connect(url: TableUrl, mode: str, timeout_seconds: float) -> sqlite3.Connection:
    """Open in ``mode`` ``ro``, ``rw`` or ``rwc`` (create), for use from any thread, without implicit transactions."""
    with reported(url.path):
        return sqlite3.connect(
            f"file:{quote(url.location)}?mode={mode}",
            uri=True,
            timeout=timeout_seconds,
            isolation_level=None,
            check_same_thread=False,
        )


@contextmanager
def reported(path: Path) -> Iterator[None]:
    """Convert SQLite's errors into ``Unavailable`` or ``UsageError``; other errors are raised as they are."""
    try:
        yield
    except sqlite3.Error as error:
        fault = _fault(path, error)
        if fault is None:
            raise
        raise fault from error
    except UnicodeDecodeError as error:  # of SQLite's message, which quotes the damage
        raise UsageError(f"{path} {_WRONG[sqlite3.SQLITE_CORRUPT]} ({error})") from error


def _fault(path: Path, error: sqlite3.Error) -> StorageError | None:
    code: int | None = getattr(error, "sqlite_errorcode", None)  # absent for errors of Python's module, not of SQLite
    if code is None:
        return None
    code &= 0xFF  # the upper bytes give the extended code
    if code in _LATER:
        return Unavailable(f"{path}: {error} (is it locked, its disk full, or its file or directory not writable?)")
    return UsageError(f"{path} {_WRONG[code]} ({error})") if code in _WRONG else None


def quoted(name: str) -> str:
    """Quote an identifier for SQL. Not with '"': SQLite reads the quoted name of a missing column as a string."""
    return "`" + name.replace("`", "``") + "`"


def columns_of(connection: sqlite3.Connection, table: str) -> tuple[Column, ...]:
    """Return the table's visible columns, generated columns included."""
    rows = connection.execute('SELECT name, hidden, "notnull", dflt_value, pk FROM pragma_table_xinfo(?)', (table,))
    return tuple(
        Column(name, is_required=bool(not_null) and default is None and not key and hidden == 0)
        for name, hidden, not_null, default, key in rows
        if hidden != 1
    )


def names_of(connection: sqlite3.Connection, kind: str = "table") -> tuple[str, ...]:
    """Return the names of all tables (or views, or indexes) except SQLite's own."""
    rows = connection.execute("SELECT name FROM sqlite_master WHERE type = ? ORDER BY name", (kind,))
    return tuple(name for (name,) in rows if not name.startswith("sqlite_"))


def shown(names: tuple[str, ...]) -> str:
    """Return names for a message, at most ``MAX_NAMES_SHOWN``."""
    more = len(names) - MAX_NAMES_SHOWN
    return ", ".join(names[:MAX_NAMES_SHOWN]) + (f" and {more} more" if more > 0 else "") or "none"


def decoded(text: bytes) -> str:
    r"""Decode a column's text; invalid UTF-8 becomes ``\xNN``, so that one bad row fails no other row."""
    return text.decode("utf-8", "backslashreplace")
