"""What ingestion speaks of: a partition's state, what was seen of it, and what is decided about it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


class State(StrEnum):
    """Where a partition stands."""

    WAITING = "waiting"  # there, but not complete; or no room yet
    RUNNING = "running"
    DONE = "done"  # every row stands in the output
    EMPTY = "empty"  # complete without a row, and skipped as the source wishes
    FAILED = "failed"  # could not be read or submitted; tried again with back-off


SETTLED_STATES = frozenset({State.DONE, State.EMPTY})


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """What is known of one partition. Times are seconds since the epoch; ``since`` is when ``rows`` was first seen."""

    state: State = State.WAITING
    reason: str = ""
    run_id: str = ""
    rows: int | None = None
    since: float = 0.0
    failed_rows: int | None = None
    attempts: int = 0
    not_before: float = 0.0  # it is not looked at again sooner

    @property
    def is_running(self) -> bool:
        """Whether a run was started for it that is not known to have ended."""
        return self.state is State.RUNNING


@dataclass(frozen=True, slots=True)
class Partition:
    """One partition that the source has: its day or hour (naive, in the source's zone), and both tables."""

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
    """What the two tables, the marker and the ledger say of a partition now."""

    run_id: str
    rows: int
    results: int  # of this very run, in the output
    is_marked: bool = True  # its done marker is there, or none is asked for
    is_run_open: bool = False  # the ledger knows its run as not complete
    failed_rows: int | None = None


@dataclass(frozen=True, slots=True)
class Fault:
    """Why a partition could not be looked at."""

    reason: str


@dataclass(frozen=True, slots=True)
class Decision:
    """What becomes of one partition, and what is to be remembered of it.

    ``is_start``: a run is to be started. ``is_left_over``: there is room for its run, but not for a look at it now.
    """

    key: str
    partition: Partition
    entry: Entry
    is_start: bool = False
    is_left_over: bool = False


@dataclass(frozen=True, slots=True)
class Backfill:
    """A range of days, ends included, that a person asked for."""

    first: str  # ISO days
    last: str
    order: str

    def __contains__(self, moment: datetime) -> bool:
        return self.first <= moment.date().isoformat() <= self.last
