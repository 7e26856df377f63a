"""Snapshot of a partition's rows: ranges of one download session, or of one query's result."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from odps import errors
from odps.tunnel.io.types import odps_schema_to_arrow_schema

from storage.errors import Unavailable
from storage.json_text import Scalar, scalar
from storage.records import Record
from storage.tables.odps.client import OdpsTable
from storage.tables.odps.errors import DAMAGED, SDK_ERRORS, described, is_passing, reported
from storage.tables.odps.layout import TableLayout
from storage.tables.odps.sql import run_sql, select

ATTEMPTS = 6  # at one range whose bytes arrive damaged or do not arrive
FIRST_ROWS = 64  # rows of the first page, before the size of a row is known


class SnapshotGone(Exception):
    """The session has ended or the service does not know it: open another one."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Numbered rows that never change. Safe to share between threads."""

    table: OdpsTable
    session: Any
    columns: tuple[str, ...]

    @property
    def count(self) -> int:
        """The number of rows."""
        return int(self.session.count)

    def read(self, start: int, count: int) -> list[Record]:
        """Return exactly the rows ``[start, start + count)``, which must all exist."""
        if not count:
            return []
        fault: Exception | None = None
        for _ in range(ATTEMPTS):
            try:
                rows = self._read(start, count)
            except (*SDK_ERRORS, *DAMAGED) as error:
                if _is_final(error):
                    raise SnapshotGone(described(error, self.table.connection.provider)) from None
                fault = error
            else:
                if len(rows) == count:
                    return rows
                fault = EOFError(f"{len(rows)} of {count} rows arrived")
        told = described(fault, self.table.connection.provider) if fault else ""
        raise Unavailable(f"{self.table.url}: rows {start}…{start + count - 1} could not be read: {told}")

    def pages(self, page_bytes: int) -> Iterator[list[Record]]:
        """Yield all rows in order, in pages of about ``page_bytes`` of text."""
        start, rows_a_page = 0, FIRST_ROWS
        while start < self.count:
            page = self.read(start, min(rows_a_page, self.count - start))
            yield page
            start += len(page)
            size_bytes = sum(len(value) for row in page for value in row.values() if isinstance(value, str))
            rows_a_page = max(1, page_bytes * len(page) // max(1, size_bytes))

    def _read(self, start: int, count: int) -> list[Record]:
        if not _fits_arrow(self.session.schema):
            with self.session.open_record_reader(start, count, columns=list(self.columns)) as reader:
                return [{name: scalar(record[name]) for name in self.columns} for record in reader]
        with self.session.open_arrow_reader(start, count, columns=list(self.columns)) as reader:
            return [row for batch in reader for row in _rows(batch, self.columns)]


def open_snapshot(table: OdpsTable, layout: TableLayout, columns: Sequence[str]) -> Snapshot:
    """Take a snapshot of the partition's rows. A Delta table can only be read by a query, which waits in the queue."""
    with reported(table.url, table.connection.provider):
        if layout.is_delta:
            instance = run_sql(table, select(table, columns, layout.partition))
            session = table.client.instances.create_download_session(instance)
        else:
            handle = table.handle
            session = table.client.tables.create_download_session(handle, partition_spec=layout.spec)
    return Snapshot(table, session, tuple(columns))


def _is_final(error: Exception) -> bool:
    """True if the service refuses this session for good: a 4xx status that a wait does not change."""
    return (
        isinstance(error, errors.BaseODPSError)
        and error.status_code is not None
        and not is_passing(error)
        and not isinstance(error, errors.NoPermission | errors.AuthorizationRequired | errors.SignatureNotMatch)
    )


def _fits_arrow(schema: Any) -> bool:
    try:
        odps_schema_to_arrow_schema(schema)
    except TypeError:
        return False
    return True


def _rows(batch: Any, columns: Sequence[str]) -> Iterator[Record]:
    values = [_scalars(batch.column(name)) for name in columns]
    return (dict(zip(columns, row, strict=True)) for row in zip(*values, strict=True))


def _scalars(column: Any) -> list[Scalar]:
    try:
        return [scalar(value) for value in column.to_pylist()]
    except UnicodeDecodeError:  # MaxCompute's STRING takes any bytes
        return [scalar(value) for value in column.cast("binary").to_pylist()]
