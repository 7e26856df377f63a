"""Compaction of an ordinary MaxCompute partition: only the newest row of each identity is kept.

An operator starts it; nothing else in tamis removes rows. The live partition is never rewritten::

    live -- INSERT OVERWRITE --> draft      a partition of a name used once, so that a statement that outlives its
                                            client writes where no other attempt looks
    live -- rename --> backup               freezes the rows: writers find no partition, and wait
    draft and backup are compared           row by row; rows written meanwhile fail it, and the backup is renamed back
    draft -- rename --> live                writers go on
    live and backup are compared            again, because only now no statement addresses these rows
    backup is dropped

After a crash at any line the next call continues: the names of the partitions say how far the last one came.
"""

from __future__ import annotations

import logging
import sqlite3
from contextlib import closing
from dataclasses import dataclass, replace
from hashlib import blake2b
from uuid import uuid4

from storage import json_text
from storage.errors import Unavailable, UsageError
from storage.json_text import text_of
from storage.records import ORDINAL, RESULT_INFO, RUN_ID, Record
from storage.tables.odps.client import OdpsTable
from storage.tables.odps.errors import reported
from storage.tables.odps.layout import TableLayout, spec_text
from storage.tables.odps.rows import Stamp
from storage.tables.odps.snapshot import open_snapshot
from storage.tables.odps.sql import add_partition, copy_newest, count_rows, drop_partition, rename_partition, run_sql
from storage.tables.protocol import RowCounts
from storage.uri import Partition

log = logging.getLogger(__name__)

ATTEMPTS = 3  # drafts, when rows are written during each
PAGE_BYTES = 4 * 1024 * 1024
DRAFT, BACKUP = ".tamis-draft-", ".tamis-backup-"


@dataclass(frozen=True, slots=True)
class Places:
    """The live partition, if it exists, and the partitions that compactions of it have left."""

    has_live: bool
    drafts: tuple[Partition, ...]
    backups: tuple[Partition, ...]


def is_leftover(value: str) -> bool:
    """True for a partition value that a compaction made."""
    return DRAFT in value or BACKUP in value


def find_places(table: OdpsTable, layout: TableLayout) -> Places:
    """List the partitions of the layout's partition and of its compactions."""
    with reported(table.url, table.connection.provider):
        specs = [one.partition_spec for one in table.handle.partitions.iterate_partitions()]
    found = [tuple((column, str(spec[column])) for column in layout.partition_columns) for spec in specs]
    *levels, (column, value) = layout.partition

    def named(mark: str) -> tuple[Partition, ...]:
        return tuple(one for one in found if list(one[:-1]) == levels and one[-1][1].startswith(value + mark))

    return Places((*levels, (column, value)) in found, named(DRAFT), named(BACKUP))


def count(table: OdpsTable, layout: TableLayout) -> RowCounts:
    """Count the partition's rows by one query."""
    instance = run_sql(table, count_rows(table, layout))
    with reported(table.url, table.connection.provider), instance.open_reader(tunnel=False) as reader:
        physical, latest = next(iter(reader)).values
    return RowCounts(int(physical), int(latest or 0))


def compact(table: OdpsTable, layout: TableLayout) -> RowCounts:
    """Keep the newest row of each identity; ``UsageError`` for a table that has no partition to exchange."""
    if not layout.partition:
        raise UsageError(f"{table.url}: a table without partitions cannot be compacted: copy it, and rename the copy")
    if (places := find_places(table, layout)).backups:
        _resume(table, layout, places)
    counts = count(table, layout)
    if counts.physical > counts.latest:
        _exchange(table, layout)
    for draft in find_places(table, layout).drafts:
        run_sql(table, drop_partition(table, draft))
    return counts


def _exchange(table: OdpsTable, layout: TableLayout) -> None:
    for _ in range(ATTEMPTS):
        token = uuid4().hex[:12]
        draft, backup = _sibling(layout, DRAFT + token), _sibling(layout, BACKUP + token)
        run_sql(table, add_partition(table, draft))
        run_sql(table, copy_newest(table, layout, draft))
        run_sql(table, rename_partition(table, layout.partition, backup))
        if _is_complete(table, layout, draft, backup):
            run_sql(table, rename_partition(table, draft, layout.partition))
            return _drop_backup(table, layout, backup)
        run_sql(table, rename_partition(table, backup, layout.partition))
        log.info("%s: rows were written while it was compacted: tried again", table.url)
    raise Unavailable(f"{table.url}: rows were written during each of {ATTEMPTS} attempts to compact it")


def _resume(table: OdpsTable, layout: TableLayout, places: Places) -> None:
    """Continue a compaction that was interrupted after the live partition had been renamed."""
    backup, *others = places.backups
    if others:
        names = ", ".join(map(spec_text, places.backups))
        raise UsageError(f"{table.url}: there are several backups of compactions, {names}: keep the right one")
    if not places.has_live:
        draft = next((one for one in places.drafts if _is_complete(table, layout, one, backup)), None)
        run_sql(table, rename_partition(table, draft or backup, layout.partition))
        if draft is None:
            return
    _drop_backup(table, layout, backup)


def _drop_backup(table: OdpsTable, layout: TableLayout, backup: Partition) -> None:
    with closing(_Comparison(table, layout)) as comparison:
        lost = comparison.lost(layout.partition, backup)
    if lost:
        raise UsageError(
            f"{table.url}: the compacted partition lacks {lost} rows of its backup {spec_text(backup)}. Both are kept: "
            f"compare them, then drop the backup, or drop {layout.spec} and rename the backup to it"
        )
    run_sql(table, drop_partition(table, backup))


def _is_complete(table: OdpsTable, layout: TableLayout, draft: Partition, backup: Partition) -> bool:
    """True if the draft holds exactly the rows of the backup that the view would show."""
    with closing(_Comparison(table, layout)) as comparison:
        return not comparison.lost(draft, backup) and not comparison.lost(backup, draft)


def _sibling(layout: TableLayout, mark: str) -> Partition:
    *levels, (column, value) = layout.partition
    return (*levels, (column, value + mark))


class _Comparison:
    """Digests of the newest rows of partitions, on disk: memory does not grow with the partition."""

    def __init__(self, table: OdpsTable, layout: TableLayout) -> None:
        self._table, self._layout = table, layout
        self._file = sqlite3.connect("", isolation_level=None)  # "": a private temporary file
        self._file.execute("PRAGMA journal_mode = OFF")
        self._names: dict[Partition, str] = {}

    def close(self) -> None:
        self._file.close()

    def lost(self, partition: Partition, backup: Partition) -> int:
        """Count the newest rows of ``backup`` that are neither in ``partition`` nor replaced there by newer rows."""
        (count,) = self._file.execute(
            f"SELECT count(*) FROM {self._read(backup)} old LEFT JOIN {self._read(partition)} new USING (identity) "  # noqa: S608 - names of this class
            "WHERE new.identity IS NULL OR new.stamp < old.stamp OR new.copies < old.copies "
            "OR (new.stamp = old.stamp AND new.digest <> old.digest)"
        ).fetchone()
        return int(count)

    def _read(self, partition: Partition) -> str:
        if partition not in self._names:
            name = self._names[partition] = f"rows{len(self._names)}"
            columns = "identity TEXT PRIMARY KEY, stamp TEXT, digest BLOB, copies INTEGER"
            self._file.execute(f"CREATE TABLE {name} ({columns})")
            layout = replace(self._layout, partition=partition)
            for page in open_snapshot(self._table, layout, tuple(layout.columns)).pages(PAGE_BYTES):
                self._file.executemany(_KEEP_NEWEST.format(name=name), map(_digested, page))
        return self._names[partition]


_KEEP_NEWEST = (
    "INSERT INTO {name} VALUES (?, ?, ?, 1) ON CONFLICT (identity) DO UPDATE SET "
    "copies = copies + (excluded.stamp = ''), "  # rows of other writers have no stamp
    "digest = CASE WHEN excluded.stamp >= stamp THEN excluded.digest ELSE digest END, "
    "stamp = max(stamp, excluded.stamp)"
)


def _digested(record: Record) -> tuple[str, str, bytes]:
    """Return identity, stamp and digest of a row; a row of another writer is its own identity."""
    digest = blake2b(json_text.write(record).encode(), digest_size=16).digest()
    identity = _identity(record)
    if identity is None:
        return digest.hex(), "", digest
    return identity[0], identity[1].text, digest


def _identity(record: Record) -> tuple[str, Stamp] | None:
    """Return what ``GET_JSON_OBJECT`` finds of run, ordinal and stamp, or ``None`` where it finds no identity."""
    try:
        info = json_text.read(text_of(record.get(RESULT_INFO)))
        run_id, ordinal = info[RUN_ID], info[ORDINAL]
    except (ValueError, KeyError, TypeError):
        return None
    return (f"row {text_of(run_id)}/{text_of(ordinal)}", Stamp.of(info)) if None not in (run_id, ordinal) else None
