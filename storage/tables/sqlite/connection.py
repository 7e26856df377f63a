"""What both directions share of SQLite: connections, names, and which of its errors means what.

SQLite's locks need a local disk: a database on a network file system can be corrupted by two writers.
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

BUSY_TIMEOUT_SECONDS = 30.0  # how long one call waits for another process's lock before it is «retry me»
MAX_NAMES_SHOWN = 20

_LATER = frozenset({  # the same call may work once a lock is free, space was made, a mode was changed
    sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_READONLY,
    sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_NOMEM, sqlite3.SQLITE_PROTOCOL, sqlite3.SQLITE_PERM,
})  # fmt: skip
_WRONG = {
    sqlite3.SQLITE_NOTADB: "is not an SQLite database: name another file, or move this one away",
    sqlite3.SQLITE_CORRUPT: "is a damaged database: restore it, or rescue the rest with the sqlite3 shell's .recover",
    sqlite3.SQLITE_CONSTRAINT: "has a constraint of its own that refuses the row: drop it, or name another table",
    sqlite3.SQLITE_ERROR: "does not take the statement: was a table or column changed meanwhile?",
}


@dataclass(frozen=True, slots=True)
class Column:
    """A column as ``PRAGMA table_info`` tells it."""

    name: str
    is_required: bool  # NOT NULL, and neither a default nor a rowid fills it in


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
    """Turn SQLite's errors into *retry me* (``Unavailable``) or *tell the operator* (``UsageError``); others pass."""
    try:
        yield
    except sqlite3.Error as error:
        fault = _fault(path, error)
        if fault is None:
            raise
        raise fault from error


def _fault(path: Path, error: sqlite3.Error) -> StorageError | None:
    code: int | None = getattr(error, "sqlite_errorcode", None)  # absent where Python's module complains, not SQLite
    if code is None:
        return None
    code &= 0xFF  # the upper bytes only refine it
    if code in _LATER:
        return Unavailable(f"{path}: {error} (is it locked, its disk full, or its file or directory not writable?)")
    return UsageError(f"{path} {_WRONG[code]} ({error})") if code in _WRONG else None


def quoted(name: str) -> str:
    """Quote an identifier for SQL. Not with '"': SQLite would read an absent column's quoted name as a string."""
    return "`" + name.replace("`", "``") + "`"


def columns_of(connection: sqlite3.Connection, table: str) -> tuple[Column, ...]:
    """Tell the table's visible columns, generated ones included."""
    rows = connection.execute('SELECT name, hidden, "notnull", dflt_value, pk FROM pragma_table_xinfo(?)', (table,))
    return tuple(
        Column(name, is_required=bool(not_null) and default is None and not key and hidden == 0)
        for name, hidden, not_null, default, key in rows
        if hidden != 1
    )


def names_of(connection: sqlite3.Connection, kind: str = "table") -> tuple[str, ...]:
    """Tell what tables (or views, or indexes) there are, SQLite's own apart."""
    rows = connection.execute("SELECT name FROM sqlite_master WHERE type = ? ORDER BY name", (kind,))
    return tuple(name for (name,) in rows if not name.startswith("sqlite_"))


def shown(names: tuple[str, ...]) -> str:
    """List names for a message, not without end."""
    more = len(names) - MAX_NAMES_SHOWN
    return ", ".join(names[:MAX_NAMES_SHOWN]) + (f" and {more} more" if more > 0 else "") or "none"


def decoded(text: bytes) -> str:
    """Decode a column's text; bytes that are no UTF-8 are shown, so that one bad row cannot fail its neighbours."""
    return text.decode("utf-8", "backslashreplace")
