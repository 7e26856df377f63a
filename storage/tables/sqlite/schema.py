"""Columns, identity and queries of the output table in SQLite.

A row's identity is in ``result_info`` and the partition columns, so the unique index is on expressions and the table
needs no columns of its own for it.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from storage.errors import UsageError
from storage.records import GENERATION, ORDINAL, OUTPUT_COLUMNS, RESULT_INFO, RUN_ID, extra_columns
from storage.tables.sqlite.connection import columns_of, names_of, quoted, shown
from storage.uri import TableUrl

BATCHES = "tamis_batches"
IS_WRITTEN = "SELECT 1 FROM tamis_batches WHERE batch_id = ?"
NOTE_WRITTEN = (
    "INSERT INTO tamis_batches (batch_id, run_id, rows, written_at) VALUES (?, ?, ?, ?) "
    "ON CONFLICT (batch_id) DO NOTHING"
)
WAL_RETRY_SECONDS = 0.02


def _key(path: str) -> str:
    return f"json_extract({quoted(RESULT_INFO)}, '$.{path}')"


def _generation(column: str) -> str:
    return f"coalesce(json_extract({column}, '$.{GENERATION}'), 0)"


@dataclass(frozen=True, slots=True)
class PartitionSql:
    """SQL for one partition. The parameters of every query start with ``values``, then the run id."""

    url: TableUrl

    @property
    def table(self) -> str:
        """The quoted table name."""
        return quoted(str(self.url.table))

    @property
    def partition_columns(self) -> tuple[str, ...]:
        """The partition's column names."""
        return tuple(column for column, _ in self.url.partition)

    @property
    def values(self) -> tuple[str, ...]:
        """The partition's values: the first parameters of every query."""
        return tuple(value for _, value in self.url.partition)

    @property
    def identity(self) -> str:
        """The indexed expressions, which are the conflict target of the upsert."""
        return ", ".join((*map(quoted, self.partition_columns), _key(RUN_ID), _key(ORDINAL)))

    @property
    def _of_run(self) -> str:
        matches = [f"{quoted(column)} = ?" for column in self.partition_columns]
        return f"FROM {self.table} WHERE {' AND '.join((*matches, f'{_key(RUN_ID)} = ?'))}"

    @property
    def exists(self) -> str:
        """Query for one row. Parameters: values, run id, ordinal."""
        return f"SELECT 1 {self._of_run} AND {_key(ORDINAL)} = ?"

    @property
    def count(self) -> str:
        """Query for a run's row count. Parameters: values, run id."""
        return f"SELECT count(*) {self._of_run}"

    @property
    def outcomes(self) -> str:
        """Query for outcomes. Parameters: values, run id, first ordinal, ordinal after the last."""
        ordinal = _key(ORDINAL)
        return (
            f"SELECT {ordinal}, {_key('succeed')}, {_key('error.code')} {self._of_run} "
            f"AND {ordinal} >= ? AND {ordinal} < ?"
        )

    def results(self, columns: Iterable[str]) -> str:
        """Return the query for a page of rows. Parameters: values, run id, ordinal before the page, most rows."""
        names, ordinal = ", ".join(map(quoted, columns)), _key(ORDINAL)
        return f"SELECT {names} {self._of_run} AND {ordinal} > ? ORDER BY {ordinal} LIMIT ?"

    def upsert(self, columns: Sequence[str]) -> str:
        """Return the upsert. Parameters: one value per column.

        A row of equal identity is replaced in place, unless it has a higher generation: a later retry's row.
        """
        names = ", ".join(map(quoted, columns))
        marks = ", ".join("?" * len(columns))
        replacing = ", ".join(f"{quoted(column)} = excluded.{quoted(column)}" for column in columns)
        older, newer = (_generation(f"{table}{quoted(RESULT_INFO)}") for table in ("", "excluded."))
        return (
            f"INSERT INTO {self.table} ({names}) VALUES ({marks}) "  # noqa: S608 - names are quoted
            f"ON CONFLICT ({self.identity}) DO UPDATE SET {replacing} WHERE {older} <= {newer}"
        )

    def result_columns(self, connection: sqlite3.Connection) -> tuple[str, ...]:
        """Return the output columns, then the extra columns, without the partition's."""
        present = (column.name for column in columns_of(connection, str(self.url.table)))
        partition = {column.lower() for column in self.partition_columns}
        return (*OUTPUT_COLUMNS, *(column for column in extra_columns(present) if column.lower() not in partition))


def prepare_tables(
    connection: sqlite3.Connection, schema: PartitionSql, extras: Sequence[str], timeout_seconds: float
) -> None:
    """Create missing tables and the index; ``UsageError`` for an existing table that cannot hold result rows."""
    _check_name(connection, schema.url)
    _use_wal(connection, timeout_seconds)
    with connection:
        connection.execute("BEGIN IMMEDIATE")
        _create(connection, schema, extras)
        _check_columns(connection, schema, extras)
        _create_identity(connection, schema)


def _check_name(connection: sqlite3.Connection, url: TableUrl) -> None:
    name = str(url.table)
    if name.lower() == BATCHES or name.lower().startswith("sqlite_"):
        raise UsageError(f"{url}: {name} is a reserved name. Name another table")
    views = names_of(connection, "view")
    alike = [found for found in (*names_of(connection), *views) if found.lower() == name.lower()]
    if alike and name not in alike:
        raise UsageError(f"{url}: the table's name is spelt {alike[0]}. Use that spelling: another URL is another run")
    if name in views:
        raise UsageError(f"{url}: {name} is a view, which cannot be written. Name a table")


def _use_wal(connection: sqlite3.Connection, timeout_seconds: float) -> None:
    """Switch to WAL. Two processes that switch together get SQLITE_BUSY at once, whatever the busy timeout."""
    deadline = time.monotonic() + timeout_seconds
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL").fetchone()
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                raise
            time.sleep(WAL_RETRY_SECONDS)
        else:
            return


def _wanted(schema: PartitionSql, extras: Iterable[str]) -> tuple[str, ...]:
    partition = {column.lower() for column in schema.partition_columns}
    carried = (column for column in extras if column.lower() not in partition)
    return (*OUTPUT_COLUMNS, *carried, *schema.partition_columns)


def _create(connection: sqlite3.Connection, schema: PartitionSql, extras: Sequence[str]) -> None:
    typed = {**dict.fromkeys(OUTPUT_COLUMNS, " TEXT"), **dict.fromkeys(schema.partition_columns, " TEXT NOT NULL")}
    columns = ", ".join(quoted(column) + typed.get(column, "") for column in _wanted(schema, extras))
    connection.execute(f"CREATE TABLE IF NOT EXISTS {schema.table} ({columns})")
    connection.execute(
        f"CREATE TABLE IF NOT EXISTS {BATCHES} "
        "(batch_id TEXT PRIMARY KEY, run_id TEXT NOT NULL, rows INTEGER NOT NULL, written_at TEXT NOT NULL)"
    )


def _check_columns(connection: sqlite3.Connection, schema: PartitionSql, extras: Sequence[str]) -> None:
    present = columns_of(connection, str(schema.url.table))
    wanted = _wanted(schema, extras)
    known = {column.name.lower() for column in present}
    if missing := tuple(column for column in wanted if column.lower() not in known):
        remedy = " ".join(f"ALTER TABLE {schema.table} ADD COLUMN {quoted(column)};" for column in missing)
        found = shown(tuple(column.name for column in present))
        raise UsageError(
            f"{schema.url}: the table is there, but lacks {', '.join(missing)} (columns found: {found}). "
            f"Name a new table, or add them: {remedy}"
        )
    ours = {column.lower() for column in wanted}
    if foreign := [column.name for column in present if column.is_required and column.name.lower() not in ours]:
        raise UsageError(
            f"{schema.url}: the table is there, but its column{'s' * (len(foreign) > 1)} {', '.join(foreign)} must not "
            f"be NULL and tamis has no value for it. Name a new table, or give a default"
        )


def _create_identity(connection: sqlite3.Connection, schema: PartitionSql) -> None:
    query = "SELECT sql FROM sqlite_master WHERE type = 'index' AND tbl_name = ? AND sql IS NOT NULL"
    if any(sql.endswith(f"({schema.identity})") for (sql,) in connection.execute(query, (schema.url.table,))):
        return
    name, taken = f"tamis_identity.{schema.url.table}", names_of(connection, "index")
    while name in taken:  # the name may belong to a renamed table, or to this table's index on other partition columns
        name += "'"
    try:
        connection.execute(f"CREATE UNIQUE INDEX {quoted(name)} ON {schema.table} ({schema.identity})")
    except (sqlite3.IntegrityError, sqlite3.OperationalError) as error:
        if error.sqlite_errorcode & 0xFF not in {sqlite3.SQLITE_CONSTRAINT, sqlite3.SQLITE_ERROR}:
            raise
        raise UsageError(
            f"{schema.url}: the table holds rows that tamis did not write, or repeated rows ({error}). "
            f"Name a new table, or correct the rows: {RESULT_INFO} must be JSON, and {schema.identity} unique"
        ) from error
