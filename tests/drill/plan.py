"""The plan of a drill: all its faults and their times, drawn from the seed before the start."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from tests.drill.rows import Kind, Row

VISIBILITY_SECONDS = 5.0
DEADLINE_SECONDS = 15.0  # of one task: some freezes outlast it, some do not


class FleetFault(StrEnum):
    """Faults that the harness causes in the fleet. Poison rows and stores cause the others: see ``Plan``."""

    KILL = "kill -9"
    CUT_CONNECTIONS = "connections cut"
    BROKER_RESTART = "broker killed and restarted"
    WIPE = "broker wiped"
    FREEZE = "worker frozen"
    DISK_FULL = "disk full"
    OUTPUT_AWAY = "output away"
    LOST_REPLY = "commit reply lost"
    OTHER_RUN = "batch of another run"  # into the same output partition
    INPUT_REWRITTEN = "input rewritten"  # in another order, and restored
    PAUSE = "run paused"  # by an operator, and resumed
    CANCEL = "run cancelled"  # by an operator, and submitted again


class StoreFault(StrEnum):
    """Faults of a storage tier in one download."""

    UNAVAILABLE = "store unavailable"
    TORN = "torn download"  # wrong bytes, then a broken connection
    HANG = "store hangs"
    REPLACED = "object replaced while read"
    SHORT = "download too short"
    LONG = "download too long"


BROKEN = (StoreFault.SHORT, StoreFault.LONG)
"""Faults that are not retried at the same tier: the next tier is asked."""


@dataclass(frozen=True, slots=True)
class PlannedFault:
    """A fault that is due when ``at_row`` rows are done and ``delay_seconds`` have passed."""

    fault: FleetFault
    at_row: int
    delay_seconds: float
    target: str = ""  # a role or a node
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Plan:
    """The plan of a drill. Equal seeds and sizes give equal plans in every process."""

    seed: int
    rows: tuple[Row, ...]
    faults: tuple[PlannedFault, ...]
    store_faults: Mapping[str, tuple[StoreFault, ...]]  # "<tier>/<video>" -> one for each download, then none

    def summary(self) -> str:
        """Return a line with counts for each class of faults."""
        kinds = Counter(row.kind.value for row in self.rows if row.kind is not Kind.GOOD)
        faults = Counter(planned.fault.value for planned in self.faults)
        targets = Counter(planned.target for planned in self.faults if planned.fault is FleetFault.KILL)
        stores = Counter(fault.value for of_video in self.store_faults.values() for fault in of_video)
        lines = (("rows", kinds), ("faults", faults), ("kills", targets), ("downloads", stores))
        return "\n".join(
            f"  {name:<9} " + ", ".join(f"{n} × {what}" for what, n in sorted(c.items())) for name, c in lines
        )


def make_plan(rows: int, kills: int, seed: int) -> Plan:
    """Draw the plan of a drill of this size."""
    made = _rows(rows, random.Random(f"rows {seed}"))
    return Plan(
        seed=seed,
        rows=made,
        faults=_planned_faults(rows, kills, random.Random(f"strikes {seed}")),
        store_faults=_store_faults(made, random.Random(f"stores {seed}")),
    )


def _rows(count: int, draw: random.Random) -> tuple[Row, ...]:
    poison = [kind for kind in Kind if kind is not Kind.GOOD for _ in range(_poison_rows(kind, count))]
    places = dict(zip(draw.sample(range(count), len(poison)), poison, strict=True))
    made: list[Row] = []
    good: list[int] = []
    for ordinal in range(count):
        kind = places.get(ordinal, Kind.GOOD)
        shares = kind is Kind.GOOD and good and draw.random() < 0.1
        made.append(Row(ordinal, kind, draw.choice(good[-40:]) if shares else ordinal))
        if kind is Kind.GOOD and not shares:
            good.append(ordinal)
    return tuple(made)


def _poison_rows(kind: Kind, rows: int) -> int:
    if kind is Kind.FATAL:  # each kills a worker about four times
        return min(5, 1 + rows // 4000)
    return 1 + rows // (2000 if kind in {Kind.HANG, Kind.BOMB} else 1000)


def _planned_faults(rows: int, kills: int, draw: random.Random) -> tuple[PlannedFault, ...]:
    wanted = {
        FleetFault.KILL: kills,
        FleetFault.CUT_CONNECTIONS: 1 + kills // 10,
        FleetFault.BROKER_RESTART: 1 + kills // 60,
        FleetFault.WIPE: 1 + kills // 100,
        FleetFault.FREEZE: 1 + kills // 20,
        FleetFault.DISK_FULL: 1 + kills // 40,
        FleetFault.OUTPUT_AWAY: 1 + kills // 40,
        FleetFault.LOST_REPLY: 2 + kills // 10,
        FleetFault.OTHER_RUN: 3 + kills // 10,
        FleetFault.INPUT_REWRITTEN: 1 + kills // 40,
        FleetFault.PAUSE: 1 + kills // 40,
        FleetFault.CANCEL: 1 + kills // 40,
    }
    drawn = [_planned_fault(fault, rows, draw) for fault, count in wanted.items() for _ in range(count)]
    return tuple(sorted(drawn, key=lambda planned: (planned.at_row, planned.delay_seconds)))


def _planned_fault(fault: FleetFault, rows: int, draw: random.Random) -> PlannedFault:
    at_row = draw.randint(rows // 50, rows * 17 // 20)
    node = draw.choice(["n1", "n2"])
    role = draw.choices(["gpu0", "io", "results", "beat"], [35, 30, 25, 10])[0]
    target, seconds = {
        FleetFault.KILL: (role, 0.0),
        FleetFault.BROKER_RESTART: ("", draw.uniform(1, 4)),
        FleetFault.FREEZE: ("gpu0", draw.uniform(VISIBILITY_SECONDS + 2, DEADLINE_SECONDS + 3)),
        FleetFault.DISK_FULL: (node, draw.uniform(2, 6)),
        FleetFault.OUTPUT_AWAY: ("", draw.uniform(2, 6)),
        FleetFault.INPUT_REWRITTEN: ("", draw.uniform(2, 6)),
        FleetFault.PAUSE: ("", draw.uniform(1, 4)),
        FleetFault.CANCEL: ("", draw.uniform(0, 4)),
    }.get(fault, ("", 0.0))
    return PlannedFault(fault, at_row, draw.uniform(0, 0.5), target, round(seconds, 2))


def _store_faults(rows: tuple[Row, ...], draw: random.Random) -> dict[str, tuple[StoreFault, ...]]:
    """Draw faults: CPFS fails in every way; OSS, the last tier, only in ways that pass, and once per video at most."""
    faults: dict[str, tuple[StoreFault, ...]] = {}
    passing = [fault for fault in StoreFault if fault not in BROKEN]
    for row in rows:
        if row.kind is Kind.CUT:
            faults[f"cpfs/{row.video}"] = faults[f"oss/{row.video}"] = (StoreFault.SHORT,) * 50
        elif row.ordinal == row.video:
            if draw.random() < 0.05:
                faults[f"cpfs/{row.video}"] = tuple(draw.choices(list(StoreFault), k=draw.randint(1, 2)))
            if draw.random() < 0.03:
                faults[f"oss/{row.video}"] = (draw.choice(passing),)
    return faults
