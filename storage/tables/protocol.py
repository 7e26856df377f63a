"""What tamis asks of a table, whatever stands behind the URL. One contract suite holds every implementation to it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
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

    def count_rows(self) -> int:
        """Rows in the partition."""

    def read_rows(self, start: int, count: int) -> list[Record]:
        """Rows ``[start, start + count)`` in ordinal order; shorter only at the end of the table."""

    def close(self) -> None:
        """Release connections. Idempotent."""


class OutputTable(Protocol):
    """One partition that results are written to: exactly one row per ``(run_id, ordinal)``."""

    @property
    def url(self) -> str:
        """The normalised URL."""

    def prepare(self, extra_columns: Sequence[str]) -> None:
        """Create table and partition where missing; check the columns where not (``UsageError``). Idempotent."""

    def write_batch(self, batch_id: str, rows: Sequence[ResultRow]) -> None:
        """Write all rows or none. The same batch again has no further effect; another one replaces equal identities."""

    def outcomes(self, run_id: str, start: int, stop: int) -> Mapping[int, str]:
        """``ordinal -> "ok" | error code`` of the run's rows already written with ``start <= ordinal < stop``."""

    def count_results(self, run_id: str) -> int:
        """Count the run's rows already written."""

    def results(self, run_id: str) -> Iterator[ResultRow]:
        """The run's rows in ordinal order, streamed in bounded memory."""

    def close(self) -> None:
        """Release connections. Idempotent."""


@runtime_checkable
class Merging(Protocol):
    """An output whose rows may take each other's place, so that it holds fewer rows than the run."""

    @property
    def merges_rows(self) -> bool:
        """Whether rows of one run that have equal keys end as one."""


@runtime_checkable
class Compacting(Protocol):
    """An output that keeps rows which a retry replaced, out of sight, until it is told to drop them."""

    def compact(self) -> bool:
        """Drop them; False when that has to wait, because somebody is writing. Readers see no difference."""
