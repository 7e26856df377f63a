"""Values of the ledger: runs, shards, counts, nodes."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from enum import StrEnum
from functools import cached_property
from typing import Self

RUN_ID_LENGTH = 16
MAX_ROWS = 2**32  # one bit each in a Redis bitmap
LATER_FIELDS = frozenset({"features", "selection"})
_RETRY = "retry-"


@dataclass(frozen=True)  # no slots: the id is hashed once and kept
class RunSpec:
    """The identity of a run. ``filters`` are the enabled switches, sorted."""

    tables: str
    outputs: str
    filters: tuple[str, ...]
    manifest: str
    manifest_digest: str
    features: str = ""  # JSON of the features to extract; empty: the videos are judged
    selection: str = ""  # JSON of a RowSelection of the input's rows; empty: all of them

    def __post_init__(self) -> None:
        if list(self.filters) != sorted(set(self.filters)):
            raise ValueError(f"filters {self.filters!r} must be sorted and unique, or equal runs get unequal ids")

    @cached_property
    def run_id(self) -> str:
        """The first 16 hexadecimal digits of the SHA-256 of ``to_json()``."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()[:RUN_ID_LENGTH]

    def to_json(self) -> str:
        """Canonical: equal specs give equal text. Empty fields that older releases lack are left out, as there."""
        fields = {name: value for name, value in asdict(self).items() if name not in LATER_FIELDS or value}
        return json.dumps(fields, sort_keys=True, separators=(",", ":"), ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str | bytes) -> Self:
        """Inverse of ``to_json``."""
        fields = json.loads(text)
        return cls(**fields | {"filters": tuple(fields["filters"])})


class RunOrder(StrEnum):
    """An operator's order to a run; ``NONE``: the run goes on by itself."""

    NONE = ""
    PAUSED = "paused"
    CANCELLED = "cancelled"


@dataclass(frozen=True, slots=True)
class Run:
    """A run from one input partition to one output partition. ``cursor`` is the next ordinal to feed."""

    run_id: str
    spec: RunSpec
    total_rows: int
    shard_rows: int
    extra_columns: tuple[str, ...]
    submitted_at: datetime
    cursor: int
    is_complete: bool
    order: RunOrder = RunOrder.NONE

    @property
    def state(self) -> str:
        """``complete``, ``paused``, ``cancelled`` or ``open``."""
        return "complete" if self.is_complete else self.order.value or "open"


def is_retry(shard_id: str) -> bool:
    """True for a shard of rows that failed before. They are in the output table already, so never settle it."""
    return shard_id.startswith(_RETRY)


def retry_shard_id(token: str, ordinals: Sequence[int]) -> str:
    """``retry-<token>-<digest of the ordinals>``: equal requests give equal ids."""
    digest = hashlib.sha256(",".join(map(str, ordinals)).encode()).hexdigest()
    return f"{_RETRY}{token}-{digest[:12]}"


@dataclass(frozen=True, slots=True)
class Shard:
    """Rows that are fed, written and recovered together.

    A base shard's id is its range, ``"<start>-<stop>"`` (``stop`` excluded). An id always means the same rows, even
    after the ledger was wiped and the run was divided again: a batch of this id in the output table is this batch.
    """

    run_id: str
    shard_id: str
    ordinals: tuple[int, ...]

    @property
    def is_retry(self) -> bool:
        """True if these rows failed before (see ``is_retry``)."""
        return is_retry(self.shard_id)


class NotBegun(StrEnum):
    """The reason that an attempt was not begun."""

    NONE = ""
    RECORDED = "recorded"  # the row has its result, or its shard is closed or unknown
    SUSPECTED = "suspected"  # more attempts than allowed never ended
    PAUSED = RunOrder.PAUSED.value
    CANCELLED = RunOrder.CANCELLED.value


@dataclass(frozen=True, slots=True)
class Attempt:
    """An attempt at a step: its number from 1, or 0 and why it was not begun; and earlier attempts that never ended."""

    number: int
    unended_before: int
    not_begun: NotBegun = NotBegun.NONE


@dataclass(frozen=True, slots=True)
class ShardState:
    """A shard's missing rows. An unknown shard reads like a closed one."""

    is_open: bool
    missing: tuple[int, ...]

    @property
    def is_full(self) -> bool:
        """True if every row is recorded, so that the shard can be written."""
        return self.is_open and not self.missing


@dataclass(frozen=True, slots=True)
class OpenShard:
    """A shard in flight. ``idle_seconds`` counts from the last claim, recorded row or re-feed."""

    shard_id: str
    recorded: int
    expected: int
    idle_seconds: float
    is_full: bool
    refeeds: int

    @property
    def is_retry(self) -> bool:
        """True if these rows failed before (see ``is_retry``)."""
        return is_retry(self.shard_id)


@dataclass(frozen=True, slots=True)
class Counts:
    """A run's row counts at one instant: always ``rows = ok + failed + in_flight``."""

    rows: int
    ok: int
    failed: int
    failures: Mapping[str, int]
    fed: int
    open_shards: int

    @property
    def in_flight(self) -> int:
        """Rows without an outcome: in work, or not fed yet."""
        return self.rows - self.ok - self.failed


@dataclass(frozen=True, slots=True)
class Recorded:
    """``is_first``: this call's result was stored. ``is_full``: the shard can be written."""

    is_first: bool
    is_full: bool


@dataclass(frozen=True, slots=True)
class Node:
    """A machine with recent heartbeats of its workers, and the age of each role's last heartbeat."""

    name: str
    role_age_seconds: Mapping[str, float]

    @property
    def roles(self) -> frozenset[str]:
        """The roles with a heartbeat."""
        return frozenset(self.role_age_seconds)

    @property
    def age_seconds(self) -> float:
        """The age of the newest heartbeat."""
        return min(self.role_age_seconds.values())


@dataclass(frozen=True, slots=True)
class Trouble:
    """The reason that a run waits at a step. No row is lost by it."""

    step: str
    text: str
    noted_at: datetime
