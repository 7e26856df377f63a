"""Figures of a run, summed over its rows as they are recorded: times, stages, models, decisions, and its progress.

They serve people (time left, reports) and no decision.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

import redis

from storage.ledger.scripts import read_at_once
from storage.records import ResultRow

POINTS = 64  # times of progress that are kept, whatever the number of rows
STEPS_PER_DOUBLING = 4  # of the classes of row times: neighbours differ by 19 %
WAITS = frozenset({"queue", "crop_queue"})  # stages in which a row waits and nothing works
APART = WAITS | {"download"}  # stages outside the time in which a row is judged


@dataclass(frozen=True, slots=True)
class Point:
    """A time at which so many rows had a result."""

    at: datetime
    done: int


@dataclass(frozen=True, slots=True)
class StageTime:
    """The time that a stage took in all rows that passed it."""

    rows: int
    milliseconds: int


@dataclass(frozen=True, slots=True)
class Figures:
    """The figures of a run. ``row_seconds``: seconds of judging, rounded to a class -> rows."""

    row_seconds: Mapping[float, int] = field(default_factory=dict)
    stages: Mapping[str, StageTime] = field(default_factory=dict)
    models: Mapping[str, Mapping[str, int]] = field(default_factory=dict)  # filter -> digest of its weights -> rows
    decided_by: Mapping[str, int] = field(default_factory=dict)  # digest of the thresholds -> rows
    keeps: Mapping[str, int] = field(default_factory=dict)  # keep, drop, review -> rows
    tiers: Mapping[str, int] = field(default_factory=dict)  # tier -> rows whose video came from it
    untrained: int = 0  # rows that were judged with untrained weights
    points: tuple[Point, ...] = ()  # in order of time


class RunFigures:
    """The figures of all runs. Thread-safe; raises ``Unavailable`` when the server does not answer."""

    def __init__(self, client: redis.Redis, *, prefix: str = "tamis:") -> None:
        self._client = client
        self._prefix = prefix

    def of(self, run_id: str) -> Figures:
        """Return the run's figures; those of an unknown run are empty."""
        (stored,) = read_at_once(self._client, ("HGETALL", f"{self._prefix}run:{{{run_id}}}:figures"))
        return _figures({name.decode(): value.decode() for name, value in stored.items()})


def increments(row: ResultRow) -> Iterator[tuple[str, int]]:
    """Yield what a recorded row adds to its run's figures."""
    about = row.result_info
    stages: Mapping[str, float] = about.get("stages") or {}
    for stage, milliseconds in stages.items():
        yield f"rows:{stage}", 1
        yield f"ms:{stage}", round(milliseconds)
    judging = sum(milliseconds for stage, milliseconds in stages.items() if stage not in APART)
    if row.is_ok and judging > 0:
        yield f"time:{round(STEPS_PER_DOUBLING * math.log2(judging))}", 1
    if row.is_ok and about.get("tier"):
        yield f"tier:{about['tier']}", 1
    for name, digest in (about.get("models") or {}).items():
        yield f"model:{name}:{digest}", 1
    if decision := about.get("decision"):
        yield f"decided:{decision['decided_by']}", 1
        yield f"keep:{decision['keep']}", 1
    if row.is_ok and about.get("untrained"):
        yield "untrained:rows", 1


def _figures(stored: Mapping[str, str]) -> Figures:
    kinds: dict[str, dict[str, str]] = {}
    for name, value in stored.items():
        kind, _, rest = name.partition(":")
        kinds.setdefault(kind, {})[rest] = value
    models: dict[str, Counter[str]] = {}
    for name, rows in kinds.get("model", {}).items():
        filter_name, _, digest = name.rpartition(":")
        models.setdefault(filter_name, Counter())[digest] += int(rows)
    milliseconds = kinds.get("ms", {})
    return Figures(
        row_seconds={2 ** (int(step) / STEPS_PER_DOUBLING) / 1000: int(n) for step, n in kinds.get("time", {}).items()},
        stages={name: StageTime(int(n), int(milliseconds[name])) for name, n in kinds.get("rows", {}).items()},
        models=models,
        decided_by={digest: int(n) for digest, n in kinds.get("decided", {}).items()},
        keeps={keep: int(n) for keep, n in kinds.get("keep", {}).items()},
        tiers={tier: int(n) for tier, n in kinds.get("tier", {}).items()},
        untrained=int(kinds.get("untrained", {}).get("rows", 0)),
        points=tuple(sorted(map(_point, kinds.get("at", {}).values()), key=lambda point: (point.at, point.done))),
    )


def _point(text: str) -> Point:
    milliseconds, _, done = text.partition(" ")
    return Point(datetime.fromtimestamp(int(milliseconds) / 1000, tz=UTC), int(done))
