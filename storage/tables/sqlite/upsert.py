"""Upsert of result rows into SQLite; a row that the table refuses is written as a failure."""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager

from storage.errors import UsageError
from storage.records import Record, ResultRow
from storage.tables.sqlite.connection import columns_of
from storage.tables.sqlite.schema import PartitionSql

_REFUSALS = {sqlite3.SQLITE_CONSTRAINT, sqlite3.SQLITE_MISMATCH, sqlite3.SQLITE_TOOBIG}


def upsert(
    connection: sqlite3.Connection, sql: PartitionSql, rows: Sequence[ResultRow], prepared: Collection[str]
) -> Mapping[int, str]:
    """Write the rows; return ``ordinal -> code`` of those that became failures.

    ``prepared``: extra columns (lower case) that the table had. ``UsageError`` if it lacks one of them now.
    """
    known = {column.name.lower() for column in columns_of(connection, str(sql.url.table))}
    if dropped := sorted(set(prepared) - known):
        raise UsageError(f"{sql.url}: column {', '.join(dropped)} was dropped from the table. Add it again")
    fitted = [_without_unknown(row, known) for row in rows]
    try:
        with _savepoint(connection):
            _write(connection, sql, fitted)
    except sqlite3.Error as error:
        if not _is_refusal(error):
            raise
        fitted = [_write_or_fail(connection, sql, row) for row in fitted]
    return {row.ordinal: row.outcome for row, given in zip(fitted, rows, strict=True) if row.outcome != given.outcome}


def _without_unknown(row: ResultRow, known: Collection[str]) -> ResultRow:
    unknown = [name.lower() for name in row.extras if name.lower() not in known]
    return row.unwritable(unknown, "the table has no such column") if unknown else row


def _write_or_fail(connection: sqlite3.Connection, sql: PartitionSql, row: ResultRow) -> ResultRow:
    """Write the row, or the failure that leaves out as few values as the table demands."""
    refusal = _refusal(connection, sql, row)
    if refusal is None:
        return row
    extras = [name.lower() for name in row.extras]
    for columns in ((), *((name,) for name in extras), extras, (*extras, "info")):
        failure = row.unwritable(columns, str(refusal))
        if _refusal(connection, sql, failure) is None:
            return failure
    raise refusal  # the table refuses even a failure without values: the operator must change it


def _refusal(connection: sqlite3.Connection, sql: PartitionSql, row: ResultRow) -> sqlite3.Error | None:
    """Write the row and return ``None``, or the table's refusal."""
    try:
        with _savepoint(connection):
            _write(connection, sql, [row])
    except sqlite3.Error as error:
        if not _is_refusal(error):
            raise
        return error
    return None


def _write(connection: sqlite3.Connection, sql: PartitionSql, rows: Sequence[ResultRow]) -> None:
    records: list[Record] = [{**row.to_record(), **dict(sql.url.partition)} for row in rows]
    columns = tuple(dict.fromkeys(column for record in records for column in record))
    connection.executemany(sql.upsert(columns), ([record.get(column) for column in columns] for record in records))


@contextmanager
def _savepoint(connection: sqlite3.Connection) -> Iterator[None]:
    connection.execute("SAVEPOINT tamis_rows")
    try:
        yield
    except BaseException:
        if connection.in_transaction:  # SQLite ends it by itself on a full disk
            connection.execute("ROLLBACK TO tamis_rows")
            connection.execute("RELEASE tamis_rows")
        raise
    connection.execute("RELEASE tamis_rows")


def _is_refusal(error: sqlite3.Error) -> bool:
    code: int | None = getattr(error, "sqlite_errorcode", None)
    return code is not None and code & 0xFF in _REFUSALS
