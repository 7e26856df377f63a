"""The values of ingestion: a partition, its recorded entry, the facts found about it, and the decision about it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


class PartitionState(StrEnum):
    """The state of a partition."""

    WAITING = "waiting"  # it exists but is not complete, or too many runs are under way
    RUNNING = "running"
    DONE = "done"  # every row is in the output
    EMPTY = "empty"  # complete without a row, and skipped as the source declares
    FAILED = "failed"  # could not be read or submitted; tried again with back-off


SETTLED_STATES = frozenset({PartitionState.DONE, PartitionState.EMPTY})


@dataclass(frozen=True, slots=True, kw_only=True)
class PartitionEntry:
    """The journal's entry of one partition. Times are seconds since the epoch; ``rows`` has been the same ``since``."""

    state: PartitionState = PartitionState.WAITING
    reason: str = ""
    run_id: str = ""
    rows: int | None = None
    since: float = 0.0
    failed_rows: int | None = None
    attempts: int = 0
    not_before: float = 0.0  # the next check comes no sooner

    @property
    def is_running(self) -> bool:
        """Return whether a run was started for it and is not known to have ended."""
        return self.state is PartitionState.RUNNING


@dataclass(frozen=True, slots=True)
class Partition:
    """A partition of the source: its day or hour (a naive time in the source's zone), and both tables' addresses."""

    moment: datetime
    tables: str
    outputs: str
    modified_at: datetime | None = None
    backfill_order: str | None = None

    def key(self, *, has_hours: bool) -> str:
        """``2025-01-15`` or ``2025-01-15T03``: the partition's name in the journal."""
        return self.moment.isoformat(timespec="hours") if has_hours else self.moment.date().isoformat()


@dataclass(frozen=True, slots=True)
class Facts:
    """The present state of a partition in its two tables, its done marker and the ledger."""

    run_id: str
    rows: int
    results: int  # of this very run, in the output
    is_marked: bool = True  # its done marker exists, or the source declares none
    is_run_open: bool = False  # its run is in the ledger and not complete
    failed_rows: int | None = None


@dataclass(frozen=True, slots=True)
class CheckFailure:
    """The reason why a partition could not be checked."""

    reason: str


@dataclass(frozen=True, slots=True)
class PartitionDecision:
    """The decision about one partition, with the entry to record.

    ``is_start``: a run is to be started. ``is_left_over``: its run could start, but this check has no room for it.
    """

    key: str
    partition: Partition
    entry: PartitionEntry
    is_start: bool = False
    is_left_over: bool = False


@dataclass(frozen=True, slots=True)
class BackfillRange:
    """A range of days, both ends included, that a person asked for."""

    first: str  # ISO days
    last: str
    order: str

    def __contains__(self, moment: datetime) -> bool:
        return self.first <= moment.date().isoformat() <= self.last
