"""What the ledger speaks of: runs, shards, and how many rows stand where."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from functools import cached_property
from typing import Self

RUN_ID_LENGTH = 16
MAX_ROWS = 2**32  # one bit each in a Redis bitmap
_RETRY = "retry-"


@dataclass(frozen=True)  # no slots: the id is hashed once and kept
class RunSpec:
    """What makes a run this run. ``filters`` are the switches that are on, sorted."""

    tables: str
    outputs: str
    filters: tuple[str, ...]
    manifest: str
    manifest_digest: str

    def __post_init__(self) -> None:
        if list(self.filters) != sorted(set(self.filters)):
            raise ValueError(f"filters {self.filters!r} must be sorted and unique, or equal runs get unequal ids")

    @cached_property
    def run_id(self) -> str:
        """The first 16 hex digits of the SHA-256 of ``to_json()``."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()[:RUN_ID_LENGTH]

    def to_json(self) -> str:
        """Canonical: equal specs give equal text."""
        return json.dumps(asdict(self), sort_keys=True, separators=(",", ":"), ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str | bytes) -> Self:
        """Inverse of ``to_json``."""
        fields = json.loads(text)
        return cls(**fields | {"filters": tuple(fields["filters"])})


@dataclass(frozen=True, slots=True)
class Run:
    """One input partition on its way to one output partition. ``cursor`` is the next ordinal to feed."""

    run_id: str
    spec: RunSpec
    total_rows: int
    shard_rows: int
    extra_columns: tuple[str, ...]
    submitted_at: datetime
    cursor: int
    is_complete: bool


def is_retry(shard_id: str) -> bool:
    """Whether the shard takes failed rows again: its rows already stand in the output table, so never settle it."""
    return shard_id.startswith(_RETRY)


def retry_shard_id(token: str, ordinals: Sequence[int]) -> str:
    """``retry-<token>-<digest of the ordinals>``: the same request names the same shard, another one never does."""
    digest = hashlib.sha256(",".join(map(str, ordinals)).encode()).hexdigest()
    return f"{_RETRY}{token}-{digest[:12]}"


@dataclass(frozen=True, slots=True)
class Shard:
    """Rows fed, written and recovered together.

    A base shard's id is its range, ``"<start>-<stop>"`` (``stop`` excluded). So an id always means the same rows,
    even after the ledger was wiped and the run was cut anew: a batch the output table knows by this id is this batch.
    """

    run_id: str
    shard_id: str
    ordinals: tuple[int, ...]

    @property
    def is_retry(self) -> bool:
        """Whether these rows failed before (see ``is_retry``)."""
        return is_retry(self.shard_id)


@dataclass(frozen=True, slots=True)
class Attempt:
    """One attempt at a step: its number from 1 (0: the shard is not open), and how many before it never ended."""

    number: int
    unended_before: int


@dataclass(frozen=True, slots=True)
class ShardState:
    """What is left of a shard. An unknown shard reads like a closed one."""

    is_open: bool
    missing: tuple[int, ...]

    @property
    def is_full(self) -> bool:
        """Every row is recorded, and the shard waits to be written."""
        return self.is_open and not self.missing


@dataclass(frozen=True, slots=True)
class OpenShard:
    """One shard in flight. ``idle_seconds`` counts from the last claim, first record or re-feed."""

    shard_id: str
    recorded: int
    expected: int
    idle_seconds: float
    is_full: bool
    refeeds: int

    @property
    def is_retry(self) -> bool:
        """Whether these rows failed before (see ``is_retry``)."""
        return is_retry(self.shard_id)


@dataclass(frozen=True, slots=True)
class Counts:
    """A run's rows at one instant: ``rows = ok + failed + in_flight``, always."""

    rows: int
    ok: int
    failed: int
    failures: Mapping[str, int]
    fed: int
    open_shards: int

    @property
    def in_flight(self) -> int:
        """Rows without an outcome: being worked on, or not fed yet."""
        return self.rows - self.ok - self.failed


@dataclass(frozen=True, slots=True)
class Recorded:
    """``is_first``: this call's result counts. ``is_full``: the shard waits to be written."""

    is_first: bool
    is_full: bool


@dataclass(frozen=True, slots=True)
class Node:
    """A machine whose workers beat lately, and how long ago each role did."""

    name: str
    role_age_seconds: Mapping[str, float]

    @property
    def roles(self) -> frozenset[str]:
        """The roles that beat."""
        return frozenset(self.role_age_seconds)

    @property
    def age_seconds(self) -> float:
        """The youngest beat's age."""
        return min(self.role_age_seconds.values())


@dataclass(frozen=True, slots=True)
class Trouble:
    """Why a run did not go on when a step was last tried; nothing is lost by it."""

    step: str
    text: str
    noted_at: datetime
