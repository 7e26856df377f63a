"""Results to an SQLite table: one row per ``(partition, run_id, ordinal)``, however often it is written."""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from threading import Lock

from storage.errors import Unwritable, UsageError
from storage.records import OK, ResultRow
from storage.tables.files.paths import stat_file
from storage.tables.sqlite.connection import BUSY_TIMEOUT_SECONDS, connect, names_of, reported, shown
from storage.tables.sqlite.schema import IS_WRITTEN, NOTE_WRITTEN, PartitionSql, prepare_tables
from storage.tables.sqlite.upsert import upsert
from storage.uri import TableUrl

log = logging.getLogger(__name__)

CHECKPOINT_SECONDS = 1.0  # wait for other readers and writers
PAGE_ROWS = 256  # rows of one query of results(); no read transaction stays open between two queries


class SqliteOutput:
    """An :class:`~storage.tables.protocol.OutputTable`; safe to use from several threads and processes."""

    def __init__(self, url: TableUrl, *, timeout_seconds: float = BUSY_TIMEOUT_SECONDS) -> None:
        self._url, self.url = url, str(url)
        self._schema = PartitionSql(url)
        self._timeout_seconds = timeout_seconds
        self._prepared: set[str] = set()  # extra columns that the table had
        self._lock = Lock()
        self._connection: sqlite3.Connection | None = None
        self._inode: tuple[int, int] | None = None

    def prepare(self, extra_columns: Sequence[str]) -> None:
        """Create a missing database (not its directory), table and identity index; check existing ones."""
        if not self._url.path.parent.is_dir():
            parent = self._url.path.parent
            raise UsageError(f"{self._url}: there is no directory {parent}. Create it, or correct the path")
        with self._connected(creating=True) as connection:
            prepare_tables(connection, self._schema, extra_columns, self._timeout_seconds)
            self._prepared |= {column.lower() for column in extra_columns}
            self._checkpoint(connection)

    def write_batch(self, batch_id: str, rows: Sequence[ResultRow]) -> Mapping[int, str]:
        """Write rows and the batch's own record in one transaction.

        A repeated batch only restores rows that were deleted from the table: rows that a later batch replaced stay
        replaced.
        """
        if not rows:
            return {}
        with self._connected() as connection:
            with connection:  # commits, or rolls back on an error
                connection.execute("BEGIN IMMEDIATE")
                wanted = rows
                if is_repeated := connection.execute(IS_WRITTEN, (batch_id,)).fetchone() is not None:
                    wanted = [row for row in rows if not self._holds(connection, row)]
                unwritable = upsert(connection, self._schema, wanted, self._prepared) if wanted else {}
                if wanted:
                    self._note(connection, batch_id, wanted)
            self._checkpoint(connection)
        return self._unwritable(rows) if is_repeated else unwritable

    def _unwritable(self, rows: Sequence[ResultRow]) -> Mapping[int, str]:
        """Return the rows of a batch that the table holds as rows it could not write."""
        ordinals = {row.ordinal for row in rows if row.outcome != Unwritable.code}
        if not ordinals:
            return {}
        found = self.outcomes(rows[0].run_id, min(ordinals), max(ordinals) + 1)
        return {ordinal: code for ordinal, code in found.items() if ordinal in ordinals and code == Unwritable.code}

    def outcomes(self, run_id: str, start: int, stop: int) -> Mapping[int, str]:
        """Return ``ordinal -> "ok" | error code``, from a range of the identity index."""
        with self._connected() as connection:
            rows = connection.execute(self._schema.outcomes, (*self._schema.values, run_id, start, stop))
            return {ordinal: OK if succeed == "true" else str(code) for ordinal, succeed, code in rows}

    def count_results(self, run_id: str) -> int:
        """Count the run's rows."""
        with self._connected() as connection:
            (count,) = connection.execute(self._schema.count, (*self._schema.values, run_id)).fetchone()
        return int(count)

    def results(self, run_id: str) -> Iterator[ResultRow]:
        """Yield the run's rows in ordinal order, ``PAGE_ROWS`` per query."""
        after = -1
        while page := self._page(run_id, after):
            for row in page:
                yield row
                after = row.ordinal

    def close(self) -> None:
        """Close the connection. Idempotent; the next call opens a new one."""
        with self._lock:
            self._disconnect()

    def _checkpoint(self, connection: sqlite3.Connection) -> None:
        """Copy the write-ahead log into the database file, so that the file alone has all rows.

        While another program holds an older snapshot open, the copy is partial; the next write or close completes it.
        """
        connection.execute(f"PRAGMA busy_timeout = {CHECKPOINT_SECONDS * 1000:.0f}")
        try:
            is_partial, *_ = connection.execute("PRAGMA wal_checkpoint(FULL)").fetchone()
        finally:
            connection.execute(f"PRAGMA busy_timeout = {self._timeout_seconds * 1000:.0f}")
        if is_partial:
            log.info("%s: the newest rows are in its -wal file until another program ends its transaction", self._url)

    def _page(self, run_id: str, after: int) -> list[ResultRow]:
        with self._connected() as connection:
            columns = self._schema.result_columns(connection)
            query = self._schema.results(columns)
            rows = connection.execute(query, (*self._schema.values, run_id, after, PAGE_ROWS))
            return [ResultRow.from_record(dict(zip(columns, row, strict=True))) for row in rows]

    def _holds(self, connection: sqlite3.Connection, row: ResultRow) -> bool:
        identity = (*self._schema.values, row.run_id, row.ordinal)
        return connection.execute(self._schema.exists, identity).fetchone() is not None

    @staticmethod
    def _note(connection: sqlite3.Connection, batch_id: str, rows: Sequence[ResultRow]) -> None:
        written_at = datetime.now(UTC).isoformat(timespec="milliseconds")
        connection.execute(NOTE_WRITTEN, (batch_id, rows[0].run_id, len(rows), written_at))

    @contextmanager
    def _connected(self, *, creating: bool = False) -> Iterator[sqlite3.Connection]:
        """Yield the connection, under a lock, to the file that is at the path now.

        SQLite goes on writing into a deleted file without an error; such rows would be lost.
        """
        with self._lock, reported(self._url.path):
            if self._connection is None or self._inode != self._inode_now():
                self._disconnect()
                self._connection = self._connect(creating=creating)
                self._inode = self._inode_now()
            yield self._connection

    def _connect(self, *, creating: bool) -> sqlite3.Connection:
        if not creating:
            stat_file(self._url)
        connection = connect(self._url, "rwc" if creating else "rw", self._timeout_seconds)
        try:
            connection.execute("PRAGMA synchronous = FULL")  # written rows must survive a power cut
            tables = names_of(connection)  # SQLite creates or reads the file at this query
        except sqlite3.Error:
            connection.close()
            raise
        if not creating and self._url.table not in tables:
            connection.close()
            raise UsageError(f"{self._url}: there is no table {self._url.table} (tables found: {shown(tables)})")
        return connection

    def _disconnect(self) -> None:
        if self._connection is not None:
            try:
                self._checkpoint(self._connection)
            except sqlite3.Error as error:  # the rows are safe in the -wal file, or the file was deleted
                log.info("%s was closed without a checkpoint: %s", self._url, error)
            self._connection.close()
        self._connection = None

    def _inode_now(self) -> tuple[int, int] | None:
        try:
            found = self._url.path.stat()
        except OSError:
            return None
        return found.st_dev, found.st_ino
