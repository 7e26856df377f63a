"""Index of a run's rows in a partition: built by one pass, kept in a compact form, rebuilt when it is old.

Of a partition over ``DIRECT_ROWS`` rows, the service selects the run's rows: other runs' rows are not sent.
Memory: 10 bytes for each row of the run and the name of each of its batches, whatever the results hold.
"""

from __future__ import annotations

import time
from array import array
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import datetime
from threading import Lock

from storage.errors import Unavailable
from storage.records import RESULT_INFO, ResultRow
from storage.tables.odps.client import OdpsTable
from storage.tables.odps.layout import TableLayout
from storage.tables.odps.rows import RowOutcome, Stamp
from storage.tables.odps.snapshot import Snapshot, SnapshotGone, open_snapshot

PAGE_ORDINALS = 4096
PAGE_BYTES = 4 * 1024 * 1024
HELD_FOR = 20  # times the duration of a pass, so that passes take at most a twentieth of the time
FIRST_RESULTS = 2**61  # more than the microseconds of any date: ranks of first results are below zero
MOST_PASSES = 3  # begun for one answer, if sessions end during them

Page = tuple["array[int]", "array[int]"]  # per ordinal: the code's number (0: no row), and the rank of its stamp


class RunIndex:
    """The outcome of each ordinal's newest row. Not safe to share between threads."""

    def __init__(self) -> None:
        self._pages: dict[int, Page] = {}
        self._codes = [""]
        self._numbers = {"": 0}
        self.batches: set[str] = set()
        self.count = 0

    def add(self, outcome: RowOutcome) -> None:
        """Add a row unless a newer row of its ordinal is known."""
        number, offset = divmod(outcome.ordinal, PAGE_ORDINALS)
        codes, ranks = self._page(number)
        rank = _rank(outcome.stamp)
        self.batches.add(outcome.stamp.batch)
        if codes[offset] and ranks[offset] > rank:
            return
        self.count += not codes[offset]
        codes[offset], ranks[offset] = self._number(outcome.code), rank

    def outcomes(self, start: int, stop: int) -> Iterator[tuple[int, str]]:
        """Yield ``(ordinal, code)`` of the rows with ``start <= ordinal < stop``."""
        for number in range(start // PAGE_ORDINALS, (max(stop, 1) - 1) // PAGE_ORDINALS + 1):
            first = number * PAGE_ORDINALS
            codes = self._pages[number][0] if number in self._pages else ()
            for offset, code in enumerate(codes):
                if code and start <= first + offset < stop:
                    yield first + offset, self._codes[code]

    def unwritten(self, batch: str, rows: Sequence[ResultRow]) -> Sequence[ResultRow]:
        """Return the rows of a batch that must still be written.

        If the partition has rows of the batch: those whose ordinal has no row (deleted rows). Otherwise: those whose
        ordinal has no row of a higher generation (a later retry's).
        """
        if batch in self.batches:
            return [row for row in rows if not any(self.outcomes(row.ordinal, row.ordinal + 1))]
        return [row for row in rows if not self._is_replaced(row)]

    def _is_replaced(self, row: ResultRow) -> bool:
        number, offset = divmod(row.ordinal, PAGE_ORDINALS)
        if number not in self._pages or not self._pages[number][0][offset]:
            return False
        return self._pages[number][1][offset] > row.generation  # ranks of first results are below zero

    def _page(self, number: int) -> Page:
        if number not in self._pages:
            self._pages[number] = array("H", bytes(2 * PAGE_ORDINALS)), array("q", bytes(8 * PAGE_ORDINALS))
        return self._pages[number]

    def _number(self, code: str) -> int:
        if code not in self._numbers:
            if len(self._codes) > 65_000:
                return self._number("other")
            self._numbers[code] = len(self._codes)
            self._codes.append(code)
        return self._numbers[code]


class Indexes:
    """The runs' indexes of one partition. Safe to share between threads.

    An index is rebuilt when it is old, and when the journal was lost: what was written before the loss is known from
    the table alone.
    """

    def __init__(self, table: OdpsTable, layout: Callable[[], TableLayout]) -> None:
        self._table, self._layout = table, layout
        self._lock = Lock()
        self._held: dict[str, tuple[str, float, RunIndex]] = {}  # run -> journal id, monotonic time of expiry, index

    def outcomes(self, run_id: str, start: int, stop: int) -> dict[int, str]:
        """Return ``ordinal -> code`` of the run's rows in the range."""
        with self._lock:
            return dict(self._of(run_id, is_renewed=True).outcomes(start, stop))

    def count(self, run_id: str) -> int:
        """Count the run's rows in a new pass."""
        with self._lock:
            self._held.pop(run_id, None)
            return self._of(run_id, is_renewed=True).count

    def unwritten(self, run_id: str, batch: str, rows: Sequence[ResultRow], *, is_fresh: bool) -> Sequence[ResultRow]:
        """Return the rows of a batch to write; ``is_fresh`` asks for a new pass over the partition first."""
        with self._lock:
            if is_fresh:
                self._held.pop(run_id, None)
            return self._of(run_id, is_renewed=False).unwritten(batch, rows)

    def note(self, run_id: str, rows: Sequence[ResultRow], stamp: Stamp) -> None:
        """Add rows that were just written."""
        with self._lock:
            if run_id in self._held:
                for row in rows:
                    stamped = replace(stamp, generation=row.generation)
                    self._held[run_id][2].add(RowOutcome(row.ordinal, row.outcome, stamped))

    def _of(self, run_id: str, *, is_renewed: bool) -> RunIndex:
        memory = self._table.connection.journal.memory(run_id)
        held = self._held.get(run_id)
        if held and held[0] == memory and (time.monotonic() < held[1] or not is_renewed):
            return held[2]
        begun = time.monotonic()
        index = read_index(self._table, self._layout(), run_id)
        ended = time.monotonic()
        self._held[run_id] = memory, ended + HELD_FOR * (ended - begun), index
        return index


def read_index(table: OdpsTable, layout: TableLayout, run_id: str) -> RunIndex:
    """Read the run's outcomes: one column of its rows, which the service selects from the partition."""
    for _ in range(MOST_PASSES):
        try:
            return _read(open_snapshot(table, layout, (RESULT_INFO,), run_id), run_id)
        except SnapshotGone:
            continue
    raise Unavailable(f"{table.url}: {MOST_PASSES} snapshots ended before they could be read")


def _read(snapshot: Snapshot, run_id: str) -> RunIndex:
    index = RunIndex()
    for page in snapshot.pages(PAGE_BYTES):
        for record in page:
            if outcome := RowOutcome.of(record, run_id):
                index.add(outcome)
    return index


def _rank(stamp: Stamp) -> int:
    """Return a number of 8 bytes that orders stamps: generations above all first results, those by time."""
    if stamp.generation:
        return stamp.generation
    try:
        return round(datetime.fromisoformat(stamp.written_at).timestamp() * 1e6) - FIRST_RESULTS
    except ValueError:
        return -FIRST_RESULTS
