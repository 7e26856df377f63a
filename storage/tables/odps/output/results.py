"""A run's rows in ordinal order, from a partition without order: sorted on disk, in bounded memory."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing

from storage import json_text
from storage.errors import Unavailable
from storage.records import ResultRow
from storage.tables.odps.client import OdpsTable
from storage.tables.odps.layout import TableLayout
from storage.tables.odps.rows import RowOutcome, from_record
from storage.tables.odps.snapshot import Snapshot, SnapshotGone, open_snapshot

PAGE_BYTES = 1024 * 1024
MOST_SNAPSHOTS = 3

_KEEP_NEWER = (
    "INSERT INTO rows VALUES (?, ?, ?) ON CONFLICT (ordinal) DO UPDATE SET stamp = excluded.stamp, "
    "record = excluded.record WHERE excluded.stamp >= stamp"
)


def sorted_results(table: OdpsTable, layout: TableLayout, run_id: str) -> Iterator[ResultRow]:
    """Yield the newest row of each ordinal as of one snapshot: rows that are written meanwhile are not in it."""
    for _ in range(MOST_SNAPSHOTS):
        snapshot = open_snapshot(table, layout, layout.result_columns, run_id)
        try:
            yield from _sorted(snapshot, layout, run_id)
        except SnapshotGone:  # raised before the first row
            continue
        return
    raise Unavailable(f"{table.url}: {MOST_SNAPSHOTS} snapshots ended before they could be read")


def _sorted(snapshot: Snapshot, layout: TableLayout, run_id: str) -> Iterator[ResultRow]:
    # The name "" is SQLite's for a private temporary file that is deleted with the connection.
    with closing(sqlite3.connect("", isolation_level=None, check_same_thread=False)) as file:
        file.execute("PRAGMA journal_mode = OFF")
        file.execute("CREATE TABLE rows (ordinal INTEGER PRIMARY KEY, stamp TEXT, record TEXT)")
        for page in snapshot.pages(PAGE_BYTES):
            outcomes = ((RowOutcome.of(record, run_id), record) for record in page)
            rows = [(found.ordinal, found.stamp, record) for found, record in outcomes if found]
            values = ((ordinal, stamp.text, json_text.write(record)) for ordinal, stamp, record in rows)
            file.executemany(_KEEP_NEWER, values)
        for (text,) in file.execute("SELECT record FROM rows ORDER BY ordinal"):
            if found := from_record(json_text.read(text), layout):
                yield found[0]
