"""Results to a MaxCompute partition: appended to an ordinary table, upserted into a primary-key (Delta) table."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from threading import Lock

from storage.errors import Unavailable, UsageError
from storage.json_text import Scalar
from storage.records import RESULT_INFO, ResultRow
from storage.tables.odps.client import OdpsTable
from storage.tables.odps.compaction import compact, count, find_places
from storage.tables.odps.connection import OdpsConnection
from storage.tables.odps.errors import reported
from storage.tables.odps.layout import (
    TableLayout,
    check_new,
    check_output,
    check_values,
    find_layout,
    has_partition,
    has_table,
    read_layout,
    spec_text,
)
from storage.tables.odps.output.index import Indexes
from storage.tables.odps.output.results import sorted_results
from storage.tables.odps.output.upload import (
    ColumnsChanged,
    UploadLost,
    abort_upsert,
    finish_upload,
    finish_upsert,
    open_upload,
    open_upsert,
)
from storage.tables.odps.rows import Stamp, fit, run_of
from storage.tables.odps.snapshot import open_snapshot
from storage.tables.odps.sql import add_partition, create_table, create_view, run_sql
from storage.tables.protocol import RowCounts
from storage.uri import TableUrl

log = logging.getLogger(__name__)

UPSERTED = "upserted"  # the journal's entry for a batch in a Delta table, instead of a session
SESSIONS = 3  # tried in one delivery
UPSERT_LOCKS = 16


@dataclass(frozen=True, slots=True)
class Batch:
    """Rows to write, ``ordinal -> values`` in the table's column order, the journal's name of the batch and its id."""

    run_id: str
    id: str
    name: str
    memory: str
    rows: Sequence[ResultRow] = field(repr=False)
    values: Mapping[int, Sequence[Scalar]] = field(repr=False)

    def only(self, rows: Sequence[ResultRow]) -> Batch:
        """Return the batch reduced to these rows."""
        return replace(self, rows=rows, values={row.ordinal: self.values[row.ordinal] for row in rows})


class OdpsOutput:
    """An :class:`~storage.tables.protocol.OutputTable`; safe to use from several threads and processes.

    An ordinary table is append-only: it keeps replaced rows, and after a crash repeated ones. All reads here, and the
    view ``<table>_latest``, show the newest row of each identity. Only :meth:`compact` removes rows.
    """

    def __init__(self, url: TableUrl, connection: OdpsConnection) -> None:
        self._table = OdpsTable(url, connection)
        self.url = str(self._table.url)
        self._journal = connection.journal
        self._lock = Lock()
        self._upserts = tuple(Lock() for _ in range(UPSERT_LOCKS))
        self._known: TableLayout | None = None
        self._prepared: set[str] = set()  # extra columns that the table had
        self._indexes = Indexes(self._table, self._layout)

    @property
    def merges_rows(self) -> bool:
        """True if rows of one run may have equal keys: a primary key without run and ordinal."""
        return self._layout().merges_rows

    def prepare(self, extra_columns: Sequence[str]) -> None:
        """Create a missing table or partition; check the columns of an existing one."""
        layout = find_layout(self._table) or self._created(extra_columns)
        check_output(self._table.url, layout, extra_columns)
        if not has_partition(self._table, layout):
            self._add_partition(layout)
        if not layout.is_delta:
            self._create_view(layout)
        self._known = layout
        self._prepared |= {column.lower() for column in extra_columns}

    def write_batch(self, batch_id: str, rows: Sequence[ResultRow]) -> Mapping[int, str]:
        """Write all rows or none. Repeating a batch has no effect, wherever its first delivery stopped."""
        if not rows:
            return {}
        try:
            return self._write(batch_id, rows)
        except ColumnsChanged:
            self._known = None
            return self._write(batch_id, rows)

    def _write(self, batch_id: str, rows: Sequence[ResultRow]) -> Mapping[int, str]:
        run_id, layout, stamp = run_of(rows), self._prepared_layout(), Stamp.now(batch_id)
        memory = self._journal.memory(run_id)  # before the look at the table: see _remember
        fitted = [fit(row, stamp, layout) for row in rows]  # raises before anything is sent
        given, rows = rows, [row for row, _ in fitted]
        values = {row.ordinal: values for row, values in fitted}
        batch = Batch(run_id, batch_id, f"{self.url} {batch_id}", memory, rows, values)
        with reported(self._table.url, self._table.connection.provider):
            wanted = self._indexes.unwritten(run_id, batch_id, rows, is_fresh=False)
            if wanted:
                (self._upsert if layout.is_delta else self._append)(batch.only(wanted), layout)
                self._indexes.note(run_id, wanted, stamp)
        changed = (row for row, before in zip(rows, given, strict=True) if row.outcome != before.outcome)
        return {row.ordinal: row.outcome for row in changed}

    def outcomes(self, run_id: str, start: int, stop: int) -> Mapping[int, str]:
        """Return ``ordinal -> "ok" | error code``, from one pass over the partition that serves many calls."""
        return self._indexes.outcomes(run_id, start, stop)

    def count_results(self, run_id: str) -> int:
        """Count the run's rows, each identity once."""
        return self._indexes.count(run_id)

    def results(self, run_id: str) -> Iterator[ResultRow]:
        """Yield the run's rows in ordinal order, each identity once; sorted in a temporary file."""
        return sorted_results(self._table, self._layout(), run_id)

    def count_rows(self) -> RowCounts:
        """Count the partition's rows, including those that :meth:`results` does not show."""
        if (layout := self._layout()).is_delta:
            return RowCounts(*[open_snapshot(self._table, layout, (RESULT_INFO,)).count] * 2)
        return count(self._table, layout)

    def compact(self) -> RowCounts:
        """Drop replaced and repeated rows and return the counts before it; a Delta table has none."""
        layout = self._layout()
        return self.count_rows() if layout.is_delta else compact(self._table, layout)

    def close(self) -> None:
        """Drop the connections. Idempotent; the next call opens new ones."""
        self._table.close()

    def _upsert(self, batch: Batch, layout: TableLayout) -> None:
        """Upsert the batch through a session that is remembered before it is used.

        A later writer of the batch aborts the session of an earlier one first. So a worker that was frozen before its
        commit cannot put old rows in the place of newer ones: a retry begins only after some writer has finished.
        """
        with self._upserts[hash(batch.name) % UPSERT_LOCKS]:  # threads of a process do not abort each other's sessions
            self._upsert_alone(batch, layout)

    def _upsert_alone(self, batch: Batch, layout: TableLayout) -> None:
        standing = self._journal.recall(batch.run_id, batch.name)
        if standing == UPSERTED:
            return
        if standing is None or abort_upsert(self._table, layout, standing):
            session = open_upsert(self._table, layout)
            if self._remember(batch, session.id, instead_of=standing) != session.id:
                raise Unavailable(f"{self.url}: another worker writes batch {batch.id}")
            finish_upsert(session, layout, list(batch.values.values()))
            standing = session.id
        self._remember(batch, UPSERTED, instead_of=standing)

    def _append(self, batch: Batch, layout: TableLayout) -> None:
        upload_id = self._journal.recall(batch.run_id, batch.name) or self._opened(batch, layout, None)
        for _ in range(SESSIONS):
            try:
                return finish_upload(self._table, layout, upload_id, list(batch.values.values()))
            except UploadLost:
                log.warning("%s: session %s of batch %s has ended: reading its rows", self.url, upload_id, batch.id)
            except ColumnsChanged:  # of the table since the session was opened, or since the layout was read
                if read_layout(self._table).columns != layout.columns:
                    raise
            missing = self._indexes.unwritten(batch.run_id, batch.id, batch.rows, is_fresh=True)
            if not missing:
                return None
            batch = batch.only(missing)
            upload_id = self._opened(batch, layout, upload_id)
        raise Unavailable(f"{self.url}: every upload session of batch {batch.id} ends before it is committed")

    def _opened(self, batch: Batch, layout: TableLayout, instead_of: str | None) -> str:
        """Open a session and remember it before anything is sent; return the session that the journal holds."""
        return self._remember(batch, open_upload(self._table, layout), instead_of=instead_of)

    def _remember(self, batch: Batch, session: str, *, instead_of: str | None) -> str:
        """Remember a session, unless the journal was lost since the batch was looked for in the table."""
        held = self._journal.remember(batch.run_id, batch.name, session, instead_of=instead_of, memory=batch.memory)
        if held is None:
            raise Unavailable(f"{self.url}: the ledger was emptied while batch {batch.id} was written")
        return held

    def _prepared_layout(self) -> TableLayout:
        """Return the layout, read again if it lacks a column that the table had; ``UsageError`` if it still does."""
        if not self._prepared <= self._layout().columns.keys():
            self._known = None
        if dropped := sorted(self._prepared - self._layout().columns.keys()):
            raise UsageError(f"{self.url}: column {', '.join(dropped)} was dropped from the table. Add it again")
        return self._layout()

    def _add_partition(self, layout: TableLayout) -> None:
        if backups := find_places(self._table, layout).backups:
            raise Unavailable(
                f"{self.url}: the partition is being compacted, or a compaction was interrupted and left "
                f"{spec_text(backups[0])}. Then run: tamis compact --tables {self.url}"
            )
        run_sql(self._table, add_partition(self._table, layout.partition))

    def _create_view(self, layout: TableLayout) -> None:
        """Create the view of the newest rows if it is missing; writing does not depend on it."""
        view = self._table.latest
        try:
            if not has_table(view):
                run_sql(self._table, create_view(self._table, layout))
        except (UsageError, Unavailable) as error:
            log.warning("%s: no view %s: %s. docs/storage.md has its statement", self.url, view.name, error)

    def _layout(self) -> TableLayout:
        with self._lock:
            if self._known is None:
                self._known = read_layout(self._table)
            return self._known

    def _created(self, extra_columns: Sequence[str]) -> TableLayout:
        is_delta = self._table.connection.new_tables == "delta"
        check_new(self._table.url, extra_columns, is_delta=is_delta)
        check_values(self._table.url, self._table.url.partition)
        run_sql(self._table, create_table(self._table, extra_columns))
        return read_layout(self._table)
