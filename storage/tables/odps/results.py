"""A run's rows in ordinal order, from a partition without order: sorted on disk, in bounded memory."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing

from storage import json_text
from storage.records import ResultRow
from storage.tables.odps.client import OdpsTable
from storage.tables.odps.layout import TableLayout
from storage.tables.odps.rows import RowOutcome, from_record
from storage.tables.odps.snapshot import Snapshot, SnapshotGone, open_snapshot

PAGE_BYTES = 1024 * 1024

_KEEP_NEWER = (
    "INSERT INTO rows VALUES (?, ?, ?) ON CONFLICT (ordinal) DO UPDATE SET stamp = excluded.stamp, "
    "record = excluded.record WHERE excluded.stamp >= stamp"
)


def sorted_results(table: OdpsTable, layout: TableLayout, run_id: str) -> Iterator[ResultRow]:
    """Yield the newest row of each ordinal, and those that are appended behind the last one meanwhile."""
    after, seen_rows = -1, -1
    while (snapshot := open_snapshot(table, layout, layout.result_columns)).count != seen_rows:
        seen_rows = snapshot.count
        try:
            for row in _sorted(snapshot, layout, run_id, after):
                yield row
                after = row.ordinal
        except SnapshotGone:
            seen_rows = -1


def _sorted(snapshot: Snapshot, layout: TableLayout, run_id: str, after: int) -> Iterator[ResultRow]:
    # The name "" is SQLite's for a private temporary file that is deleted with the connection.
    with closing(sqlite3.connect("", isolation_level=None, check_same_thread=False)) as file:
        file.execute("PRAGMA journal_mode = OFF")
        file.execute("CREATE TABLE rows (ordinal INTEGER PRIMARY KEY, stamp TEXT, record TEXT)")
        for page in snapshot.pages(PAGE_BYTES):
            outcomes = ((RowOutcome.of(record, run_id), record) for record in page)
            rows = [(found.ordinal, found.stamp, record) for found, record in outcomes if found]
            values = ((ordinal, stamp.text, json_text.write(record)) for ordinal, stamp, record in rows)
            file.executemany(_KEEP_NEWER, values)
        for (text,) in file.execute("SELECT record FROM rows WHERE ordinal > ? ORDER BY ordinal", (after,)):
            if found := from_record(json_text.read(text), layout):
                yield found[0]
