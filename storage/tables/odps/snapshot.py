"""Snapshot of a partition's rows: ranges of one download session, or of one query's result."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
from odps import errors
from odps.tunnel.io.types import odps_schema_to_arrow_schema
from odps.types import timestamp_ntz

from storage.errors import Unavailable, UsageError
from storage.json_text import Scalar
from storage.records import Record
from storage.tables.arrow_values import values_of
from storage.tables.odps.client import OdpsTable
from storage.tables.odps.errors import DAMAGED, SDK_ERRORS, described, is_passing, reported
from storage.tables.odps.layout import TableLayout
from storage.tables.odps.sql import run_sql, select
from storage.tables.odps.values import from_column, moment

ATTEMPTS = 6  # at one range whose bytes arrive damaged or do not arrive
NANOSECONDS = {"s": 10**9, "ms": 10**6, "us": 10**3, "ns": 1}
DIRECT_ROWS = 20_000  # of a partition that is read whole for one run: quicker than a query
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
        kinds = {column.name.lower(): column.type for column in self.session.schema.simple_columns}
        if dropped := [name for name in self.columns if name not in kinds]:
            raise UsageError(f"{self.table.url}: column {', '.join(dropped)} was dropped from the table. Add it again")
        if not _fits_arrow(self.session.schema):
            with self.session.open_record_reader(start, count, columns=list(self.columns)) as reader:
                return [{name: from_column(kinds[name], record[name]) for name in self.columns} for record in reader]
        with self.session.open_arrow_reader(start, count, columns=list(self.columns)) as reader:
            return [row for batch in reader for row in _rows(batch, self.columns, kinds)]


def open_snapshot(table: OdpsTable, layout: TableLayout, columns: Sequence[str], run_id: str | None = None) -> Snapshot:
    """Take a snapshot of the partition's rows; with ``run_id``, rows of other runs may be left out.

    All rows of a Delta table, and a run's rows in a large partition, are selected by a query, which waits in the
    project's queue.
    """
    with reported(table.url, table.connection.provider):
        session = None
        if not layout.is_delta:
            session = table.client.tables.create_download_session(table.handle, partition_spec=layout.spec)
        if session is None or (run_id is not None and session.count > DIRECT_ROWS):
            instance = run_sql(table, select(table, columns, layout.partition, run_id))
            session = table.client.instances.create_download_session(instance)
    return Snapshot(table, session, tuple(columns))


def attach_snapshot(table: OdpsTable, layout: TableLayout, columns: Sequence[str], session_id: str) -> Snapshot:
    """Return the snapshot of a session that another process opened; ``SnapshotGone`` if it has ended."""
    with reported(table.url, table.connection.provider):
        try:
            session = table.client.tables.create_download_session(
                table.handle, partition_spec=layout.spec, download_id=session_id
            )
        except SDK_ERRORS as error:
            if _is_final(error):
                raise SnapshotGone(described(error, table.connection.provider)) from None
            raise
    if session.status.name not in {"Normal", "Initiated"}:
        raise SnapshotGone(f"session {session_id} is {session.status.name.lower()}")
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


def _rows(batch: Any, columns: Sequence[str], kinds: Mapping[str, Any]) -> Iterator[Record]:
    values = [_scalars(batch.column(name), kinds[name]) for name in columns]
    return (dict(zip(columns, row, strict=True)) for row in zip(*values, strict=True))


def _scalars(column: Any, kind: Any) -> list[Scalar]:
    if pa.types.is_timestamp(column.type):  # as numbers: Python's times have no nanoseconds
        factor = NANOSECONDS[column.type.unit]
        times = column.cast(pa.int64()).to_pylist()
        return [None if time is None else moment(time * factor, has_zone=kind != timestamp_ntz) for time in times]
    return [from_column(kind, value) for value in values_of(column)]
