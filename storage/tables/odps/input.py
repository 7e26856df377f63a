"""Rows of a MaxCompute partition, numbered by one snapshot of it."""

from __future__ import annotations

import logging
from threading import RLock

from storage.errors import Unavailable, UsageError
from storage.records import RESULT_INFO, Record
from storage.tables.odps.client import OdpsTable
from storage.tables.odps.connection import OdpsConnection
from storage.tables.odps.layout import check_input, has_partition, read_layout
from storage.tables.odps.snapshot import Snapshot, SnapshotGone, attach_snapshot, open_snapshot
from storage.tables.version import InputVersion, check_version
from storage.uri import TableUrl

log = logging.getLogger(__name__)

REOPENINGS = 3  # new snapshots during one read


class OdpsInput:
    """An :class:`~storage.tables.protocol.InputTable`; safe to use from several threads.

    A row's ordinal is its position in one download session, which the service keeps for a day. With ``version``, the
    session of the run is read, whatever happened to the partition since. If it has ended, another one is opened, and
    must have the same number of rows and the same sampled rows.
    """

    def __init__(self, url: TableUrl, connection: OdpsConnection, version: InputVersion | None = None) -> None:
        self._table = OdpsTable(url, connection)
        self.url = str(self._table.url)
        self._version = version
        self._lock = RLock()  # a check reads, and may find that the new session has ended as well
        self._layout = read_layout(self._table)
        if self._layout.is_delta and RESULT_INFO not in self._layout.columns:  # results tell their order themselves
            raise UsageError(
                f"{url}: a primary-key (Delta) table has no order to number rows by. "
                f"Copy the partition to an ordinary table, and read that"
            )
        check_input(url, self._layout)
        if not has_partition(self._table, self._layout):
            raise UsageError(f"{url}: there is no partition {self._layout.spec}. Correct the URL, or wait for its data")
        self._snapshot = self._attached() or self._open()
        if version is not None:
            self._check_count(self._snapshot, version.count)

    @property
    def columns(self) -> tuple[str, ...]:
        """Column names in the table's order, in lower case, without the partition's."""
        return tuple(self._layout.columns)

    @property
    def snapshot_id(self) -> str:
        """The id of the download session."""
        return str(self._snapshot.session.id)

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

    def _attached(self) -> Snapshot | None:
        """Return the session of the run's version, if the service still has it."""
        if self._version is None:
            return None
        try:
            return attach_snapshot(self._table, self._layout, self.columns, self._version.snapshot_id)
        except SnapshotGone:
            return None

    def _open(self) -> Snapshot:
        return open_snapshot(self._table, self._layout, self.columns)

    def _reopen(self, gone: Snapshot) -> None:
        with self._lock:
            if self._snapshot is not gone:
                return  # another thread has reopened it
            fresh = self._open()
            self._check_count(fresh, gone.count)
            self._snapshot = fresh
            if self._version is not None:
                self._check(gone, self._version)

    def _check(self, gone: Snapshot, version: InputVersion) -> None:
        try:
            check_version(self, version)
        except UsageError:
            self._snapshot = gone  # nothing of the changed partition is read
            raise

    def _check_count(self, snapshot: Snapshot, count: int) -> None:
        if snapshot.count != count:
            raise UsageError(
                f"{self.url} changed while it was read: it had {count} rows, now {snapshot.count}, so rows cannot be "
                f"told apart by position. Restore its rows, or copy the new ones to another partition and submit that"
            )
