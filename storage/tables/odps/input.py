"""Rows of a MaxCompute partition, numbered by one snapshot of it."""

from __future__ import annotations

import logging
from threading import Lock

from storage.errors import Unavailable, UsageError
from storage.records import Record
from storage.tables.odps.client import OdpsTable
from storage.tables.odps.connection import OdpsConnection
from storage.tables.odps.layout import check_input, has_partition, read_layout
from storage.tables.odps.snapshot import Snapshot, SnapshotGone, open_snapshot
from storage.uri import TableUrl

log = logging.getLogger(__name__)

REOPENINGS = 3  # new snapshots during one read


class OdpsInput:
    """An :class:`~storage.tables.protocol.InputTable`; safe to use from several threads.

    A row's ordinal is its position in the partition as MaxCompute serves it, which is stable while the partition is not
    written to. The row count is compared whenever the snapshot is taken again.
    """

    def __init__(self, url: TableUrl, connection: OdpsConnection) -> None:
        self._table = OdpsTable(url, connection)
        self._lock = Lock()
        self._layout = read_layout(self._table)
        if self._layout.is_delta:
            raise UsageError(
                f"{url}: a primary-key (Delta) table has no order to number rows by. "
                f"Copy the partition to an ordinary table, and read that"
            )
        check_input(url, self._layout)
        if not has_partition(self._table, self._layout):
            raise UsageError(f"{url}: there is no partition {self._layout.spec}. Correct the URL, or wait for its data")
        self._snapshot = self._open()

    @property
    def url(self) -> str:
        """The normalised URL."""
        return str(self._table.url)

    @property
    def columns(self) -> tuple[str, ...]:
        """Column names in the table's order, in lower case, without the partition's."""
        return tuple(self._layout.columns)

    def count_rows(self) -> int:
        """Return the number of rows in the snapshot."""
        return self._snapshot.count

    def read_rows(self, start: int, count: int) -> list[Record]:
        """Return rows ``[start, start + count)``; nested values as JSON text, times and decimals as text."""
        for _ in range(REOPENINGS):
            snapshot = self._snapshot
            try:
                return snapshot.read(start, max(0, min(count, snapshot.count - start)))
            except SnapshotGone as gone:
                log.info("%s: the snapshot has ended (%s) and is taken again", self.url, gone)
                self._reopen(snapshot)
        raise Unavailable(f"{self.url}: every snapshot ends before it can be read")

    def close(self) -> None:
        """Drop the connections. Idempotent; the next read opens new ones."""
        self._table.close()

    def _open(self) -> Snapshot:
        return open_snapshot(self._table, self._layout, self.columns)

    def _reopen(self, gone: Snapshot) -> None:
        with self._lock:
            if self._snapshot is not gone:
                return  # another thread has reopened it
            fresh = self._open()
            if fresh.count != gone.count:
                raise UsageError(
                    f"{self.url} changed while it was read: it had {gone.count} rows, now {fresh.count}, so they "
                    f"cannot be told apart by position. Put it back, or submit the changed one as another partition"
                )
            self._snapshot = fresh
