"""Selections of rows as part of a run's identity: a condition, a sample, a limit, in this order."""

from __future__ import annotations

import json
import re
from array import array
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from hashlib import blake2b
from threading import Lock
from typing import Protocol, runtime_checkable

from storage.errors import UsageError
from storage.json_text import text_of
from storage.records import Record
from storage.tables.protocol import InputTable
from storage.tables.selection.condition import Condition, bind
from storage.tables.selection.parse import parse_condition

BLOCK_ROWS = 1000  # read at once, and the longest span that is read for a few rows of it
HASHES = 2**64

Keeps = Callable[[Record], bool]


@dataclass(frozen=True, slots=True)
class RowSelection:
    """Rows of an input: those that meet ``where``, of them ``sample`` (``1%``), of them the first ``limit``.

    A row is in the sample or not by its ``video_id`` alone, so the same rows are in it each time, and in a larger one.
    """

    where: str = ""
    sample: str = ""
    limit: int | None = None

    def __post_init__(self) -> None:
        if self.where:
            parse_condition(self.where)
        if self.sample:
            share_of(self.sample)

    def to_json(self) -> str:
        """Return the text for a run's identity; empty for all rows."""
        given = {"where": self.where, "sample": self.sample, "limit": self.limit}
        chosen = {name: value for name, value in given.items() if value}
        return json.dumps(chosen, sort_keys=True, separators=(",", ":"), ensure_ascii=False) if chosen else ""

    @classmethod
    def from_json(cls, text: str) -> RowSelection:
        """Read back what :meth:`to_json` wrote."""
        return cls(**json.loads(text)) if text else cls()

    def __str__(self) -> str:
        named = (("where", self.where), ("sample", self.sample), ("limit", self.limit))
        return ", ".join(f"{name} {value}" for name, value in named if value) or "all rows"


@runtime_checkable
class Filtering(Protocol):
    """An input that leaves out rows by itself."""

    def matching(self, condition: Condition) -> InputTable:
        """Return another input, of the rows that meet a condition on this one's columns."""


def share_of(sample: str) -> Fraction:
    """Return the share that ``1%`` or ``0.5%`` names; ``UsageError`` for any other text."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*%", sample)
    share = Fraction(found[1]) / 100 if found else Fraction(0)
    if not 0 < share <= 1:
        raise UsageError(f"--sample {sample!r}: give a share above 0% and up to 100%, such as 1%")
    return share


def select(table: InputTable, selection: RowSelection) -> InputTable:
    """Return the selected rows of a table as a table. It takes the table over, and closes it."""
    if not selection.to_json():
        return table
    keeps: list[Keeps] = []
    if selection.where:
        condition = bind(parse_condition(selection.where), table.columns, selection.where)
        if isinstance(table, Filtering):
            whole, table = table, table.matching(condition)
            whole.close()
        else:
            keeps.append(lambda row: condition.holds(row) is True)
    if selection.sample:
        share = share_of(selection.sample)
        keeps.append(lambda row: is_sampled(row, share))
    return SelectedInput(table, keeps, selection.limit)


def is_sampled(row: Record, share: Fraction) -> bool:
    """Return whether the row is in the sample: by its ``video_id``, or by its address if it has none."""
    identity = text_of(row.get("video_id")) or f"{row.get('oss_bucket')}/{row.get('video_path')}"
    return int.from_bytes(blake2b(identity.encode("utf-8", "replace"), digest_size=8).digest()) < share * HASHES


class SelectedInput:
    """An :class:`~storage.tables.protocol.InputTable` of some rows of another one; safe to use from several threads.

    The other table is read as far as rows are asked for. Memory: 8 bytes for each selected row.
    """

    def __init__(self, table: InputTable, keeps: Sequence[Keeps], limit: int | None) -> None:
        self._table, self._keeps, self._limit = table, keeps, limit
        self._lock = Lock()
        self._places = array("Q")  # of the selected rows in the other table, as far as it was read
        self._read = 0

    @property
    def url(self) -> str:
        """The other table's URL."""
        return self._table.url

    @property
    def columns(self) -> tuple[str, ...]:
        """The other table's columns."""
        return self._table.columns

    @property
    def snapshot_id(self) -> str:
        """The other table's snapshot."""
        return self._table.snapshot_id

    def count_rows(self) -> int:
        """Return the number of selected rows; the first call reads the table to its end, or to the limit."""
        if not self._keeps:
            rows = self._table.count_rows()
            return rows if self._limit is None else min(rows, self._limit)
        with self._lock:
            self._find(self._limit)
            return len(self._places)

    def read_rows(self, start: int, count: int) -> list[Record]:
        """Return rows ``[start, start + count)`` of the selected ones."""
        stop = start + max(0, count) if self._limit is None else min(start + max(0, count), self._limit)
        if not self._keeps:
            return self._table.read_rows(start, max(0, stop - start))
        with self._lock:
            self._find(stop)
            places = self._places[start:stop]
        return [row for span in _spans(places) for row in self._of_span(span)]

    def close(self) -> None:
        """Close the other table. Idempotent."""
        self._table.close()

    def _find(self, wanted: int | None) -> None:
        """Read on until so many selected rows are known, or all."""
        while wanted is None or len(self._places) < wanted:
            rows = self._table.read_rows(self._read, BLOCK_ROWS)
            for place, row in enumerate(rows, self._read):
                if (wanted is None or len(self._places) < wanted) and all(keeps(row) for keeps in self._keeps):
                    self._places.append(place)
                self._read = place + 1
                if wanted is not None and len(self._places) >= wanted:
                    break
            if len(rows) < BLOCK_ROWS:
                return

    def _of_span(self, places: Sequence[int]) -> Iterator[Record]:
        rows = self._table.read_rows(places[0], places[-1] - places[0] + 1)
        return (rows[place - places[0]] for place in places if place - places[0] < len(rows))


def _spans(places: Sequence[int]) -> Iterator[list[int]]:
    """Yield ascending places in groups, each within ``BLOCK_ROWS``."""
    span: list[int] = []
    for place in places:
        if span and place - span[0] >= BLOCK_ROWS:
            yield span
            span = []
        span.append(place)
    if span:
        yield span
