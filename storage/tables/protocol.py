"""Protocols of input and output tables; tests/contract/test_tables.py tests every implementation."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from storage.records import Record, ResultRow


class InputTable(Protocol):
    """A read-only, ordered snapshot of one partition. A row's position in it is its ordinal, from 0."""

    @property
    def url(self) -> str:
        """The normalised URL: absolute, and equal for equal partitions."""

    @property
    def columns(self) -> tuple[str, ...]:
        """Column names, without the partition columns."""

    @property
    def snapshot_id(self) -> str:
        """Name of this content in the store: equal names mean equal rows in equal order. Empty if it has none."""

    def count_rows(self) -> int:
        """Return the number of rows in the partition."""

    def read_rows(self, start: int, count: int) -> list[Record]:
        """Return rows ``[start, start + count)`` in ordinal order; fewer only at the end of the table."""

    def close(self) -> None:
        """Release connections. Idempotent."""


class OutputTable(Protocol):
    """A partition that results are written to: it shows exactly one row per ``(run_id, ordinal)``."""

    @property
    def url(self) -> str:
        """The normalised URL."""

    def prepare(self, extra_columns: Sequence[str]) -> None:
        """Create a missing table or partition; check the columns of an existing one (``UsageError``). Idempotent."""

    def write_batch(self, batch_id: str, rows: Sequence[ResultRow]) -> Mapping[int, str]:
        """Write all rows or none. Repeating a batch has no effect; another batch replaces rows of equal identity.

        A row with a value that the table cannot hold is written as a failure without that value. Returns
        ``ordinal -> "row_unwritable"`` of such rows, also when the batch was written before.
        """

    def outcomes(self, run_id: str, start: int, stop: int) -> Mapping[int, str]:
        """Return ``ordinal -> "ok" | error code`` of the run's written rows with ``start <= ordinal < stop``."""

    def count_results(self, run_id: str) -> int:
        """Count the run's rows already written."""

    def results(self, run_id: str) -> Iterator[ResultRow]:
        """Yield the run's rows in ordinal order, in bounded memory."""

    def close(self) -> None:
        """Release connections. Idempotent."""


@runtime_checkable
class Merging(Protocol):
    """An output that may keep fewer rows than the run has, because rows of equal keys replace each other."""

    @property
    def merges_rows(self) -> bool:
        """True if rows of one run that have equal keys end as one row."""


@dataclass(frozen=True, slots=True)
class RowCounts:
    """Rows that are physically in a partition, and those of them that readers show."""

    physical: int
    latest: int


@runtime_checkable
class AppendOnly(Protocol):
    """An output that keeps replaced and repeated rows, hidden from readers, until an operator compacts it."""

    def count_rows(self) -> RowCounts:
        """Count the partition's rows."""

    def compact(self) -> RowCounts:
        """Drop replaced and repeated rows and return the counts before it. Idempotent, and resumes after a crash."""
