"""Rows of an SQLite table, in rowid order.

Rows may be appended while a run reads the partition. A deleted row would change the ordinals of all rows after it.
"""

from __future__ import annotations

import math
import sqlite3
from bisect import bisect_right
from collections.abc import Sequence
from contextlib import ExitStack
from threading import Lock

from storage.errors import UsageError
from storage.json_text import scalar
from storage.records import Record
from storage.tables.files.paths import stat_file
from storage.tables.selection.condition import Condition
from storage.tables.selection.sqlite_clause import sqlite_clause
from storage.tables.sqlite.connection import (
    BUSY_TIMEOUT_SECONDS,
    columns_of,
    connect,
    decoded,
    names_of,
    quoted,
    reported,
    shown,
)
from storage.uri import TableUrl

ANCHOR_ROWS = 256  # one rowid is kept per so many rows: 40 000 pairs for ten million rows


class SqliteInput:
    """An :class:`~storage.tables.protocol.InputTable`; safe to use from several threads.

    With ``where``, a condition on its columns, it has only the rows that meet it; with ``columns``, only these columns.
    """

    def __init__(
        self,
        url: TableUrl,
        *,
        columns: Sequence[str] = (),
        timeout_seconds: float = BUSY_TIMEOUT_SECONDS,
        where: Condition | None = None,
    ) -> None:
        stat_file(url)
        self._url, self.url = url, str(url)
        self._lock = Lock()
        clause, values = sqlite_clause(where) if where is not None else ("", ())
        self._values: tuple[object, ...] = (*(value for _, value in url.partition), *values)
        self._anchors: list[tuple[int, float]] = []  # (ordinal, rowid of the row before it), ascending
        with ExitStack() as opened, reported(url.path):
            self._connection = connect(url, "ro", timeout_seconds)
            opened.callback(self._connection.close)
            self._connection.text_factory = decoded
            present, rowid = _checked_columns(self._connection, url)
            self.columns = tuple(name for name in present if not columns or name in columns)
            self._count = f"SELECT count(*) {_source(url, clause)}"
            self._select = _select(url, self.columns, rowid, clause)
            _check_partition(self._connection, url)
            opened.pop_all()

    @property
    def snapshot_id(self) -> str:
        """Empty: a database has no name for the content of a partition."""
        return ""

    def matching(self, condition: Condition) -> SqliteInput:
        """Return another input of this partition, of the rows that meet the condition."""
        return SqliteInput(self._url, where=condition)

    def count_rows(self) -> int:
        """Return the number of rows in the partition."""
        with self._lock, reported(self._url.path):
            (count,) = self._connection.execute(self._count, self._values).fetchone()
        return int(count)

    def read_rows(self, start: int, count: int) -> list[Record]:
        """Return rows ``[start, start + count)``; the search starts at the nearest rowid that an earlier read kept."""
        with self._lock, reported(self._url.path):
            ordinal, rowid = self._nearest_anchor(start)
            rows = self._connection.execute(
                self._select, (*self._values, rowid, max(count, 0), start - ordinal)
            ).fetchall()
            if rows:
                self._remember(start + len(rows), rows[-1][0])
        return [{name: scalar(value) for name, value in zip(self.columns, row[1:], strict=True)} for row in rows]

    def close(self) -> None:
        """Close the connection. Idempotent."""
        with self._lock:
            self._connection.close()

    def _nearest_anchor(self, ordinal: int) -> tuple[int, float]:
        position = bisect_right(self._anchors, ordinal, key=_ordinal_of)
        return self._anchors[position - 1] if position else (0, -math.inf)  # rowids may be negative

    def _remember(self, ordinal: int, rowid: int) -> None:
        position = bisect_right(self._anchors, ordinal, key=_ordinal_of)
        before = self._anchors[position - 1][0] if position else 0
        if ordinal - before >= ANCHOR_ROWS:
            self._anchors.insert(position, (ordinal, rowid))


def _ordinal_of(anchor: tuple[int, float]) -> int:
    return anchor[0]


def _source(url: TableUrl, clause: str = "") -> str:
    matches = " AND ".join((*(f"{quoted(column)} = ?" for column, _ in url.partition), *([clause] if clause else [])))
    matches = matches or "1"
    return f"FROM {quoted(str(url.table))} WHERE {matches}"


def _select(url: TableUrl, columns: tuple[str, ...], rowid: str, clause: str) -> str:
    names = ", ".join((rowid, *map(quoted, columns)))
    return f"SELECT {names} {_source(url, clause)} AND {rowid} > ? ORDER BY {rowid} LIMIT ? OFFSET ?"


def _checked_columns(connection: sqlite3.Connection, url: TableUrl) -> tuple[tuple[str, ...], str]:
    """Return the columns without the partition's, and a name for the rowid that none of them has."""
    tables = names_of(connection)
    if url.table not in tables:
        if url.table in names_of(connection, "view"):
            raise UsageError(f"{url}: {url.table} is a view, so its rows have no fixed order. Copy it into a table")
        raise UsageError(f"{url}: {url.location} has no table {url.table} (tables found: {shown(tables)})")
    columns = tuple(column.name for column in columns_of(connection, str(url.table)))
    partition = [column for column, _ in url.partition]
    if unknown := [column for column in partition if column not in columns]:
        raise UsageError(f"{url}: {url.table} has no column {', '.join(unknown)} (columns found: {shown(columns)})")
    return tuple(column for column in columns if column not in partition), _rowid_name(connection, url, columns)


def _rowid_name(connection: sqlite3.Connection, url: TableUrl, columns: tuple[str, ...]) -> str:
    taken = {column.lower() for column in columns}
    fault = UsageError(f"{url}: {url.table} has no rowid that would order its rows. Copy it into a table that has one")
    name = next((name for name in ("rowid", "_rowid_", "oid") if name not in taken), None)
    if name is None:
        raise fault
    try:
        connection.execute(f"SELECT {name} FROM {quoted(str(url.table))} LIMIT 0")  # noqa: S608 - names are quoted
    except sqlite3.OperationalError:
        raise fault from None
    return name


def _check_partition(connection: sqlite3.Connection, url: TableUrl) -> None:
    if not url.partition:
        return
    columns, values = zip(*url.partition, strict=True)
    if connection.execute(f"SELECT 1 {_source(url)} LIMIT 1", values).fetchone():
        return
    names = ", ".join(map(quoted, columns))
    every = f"SELECT DISTINCT {names} FROM {quoted(str(url.table))} ORDER BY {names}"  # noqa: S608 - names are quoted
    found = connection.execute(every)
    partitions = tuple("/".join(f"{c}={v}" for c, v in zip(columns, row, strict=True)) for row in found.fetchmany(1000))
    wanted = "/".join(f"{column}={value}" for column, value in url.partition)
    raise UsageError(f"{url}: {url.table} has no rows in partition {wanted} (partitions found: {shown(partitions)})")
