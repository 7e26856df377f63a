"""What goes wrong, and when: all of it drawn from the seed before anything starts."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from tests.drill.rows import Kind, Row

VISIBILITY_SECONDS = 5.0
DEADLINE_SECONDS = 15.0  # of one task: some freezes outlast it, some do not


class Fault(StrEnum):
    """What the harness does to the fleet. The workers do the rest to themselves: see ``Plan``."""

    KILL = "kill -9"
    CUT_CONNECTIONS = "connections cut"
    BROKER_RESTART = "broker killed and restarted"
    WIPE = "broker wiped"
    FREEZE = "worker frozen"
    DISK_FULL = "disk full"
    OUTPUT_AWAY = "output away"
    LOST_REPLY = "commit reply lost"


class StoreFault(StrEnum):
    """What a storage tier does to one download."""

    UNAVAILABLE = "store unavailable"
    TORN = "torn download"  # wrong bytes, then a broken connection
    HANG = "store hangs"
    REPLACED = "object replaced while read"
    SHORT = "download too short"
    LONG = "download too long"


BROKEN = (StoreFault.SHORT, StoreFault.LONG)
"""Not to be tried again at the same tier: the next tier serves instead."""


@dataclass(frozen=True, slots=True)
class Strike:
    """One fault: due when ``at_row`` rows are done and ``delay_seconds`` have passed."""

    fault: Fault
    at_row: int
    delay_seconds: float
    target: str = ""  # a role or a node
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Plan:
    """One drill. Equal seeds and sizes give equal plans, in every process."""

    seed: int
    rows: tuple[Row, ...]
    strikes: tuple[Strike, ...]
    store_faults: Mapping[str, tuple[StoreFault, ...]]  # "<tier>/<video>" -> one for each download, then none

    def summary(self) -> str:
        """One line for each kind of thing that goes wrong."""
        kinds = Counter(row.kind.value for row in self.rows if row.kind is not Kind.GOOD)
        strikes = Counter(strike.fault.value for strike in self.strikes)
        targets = Counter(strike.target for strike in self.strikes if strike.fault is Fault.KILL)
        stores = Counter(fault.value for faults in self.store_faults.values() for fault in faults)
        lines = (("rows", kinds), ("strikes", strikes), ("kills", targets), ("downloads", stores))
        return "\n".join(
            f"  {name:<9} " + ", ".join(f"{n} × {what}" for what, n in sorted(c.items())) for name, c in lines
        )


def make_plan(rows: int, kills: int, seed: int) -> Plan:
    """Draw a drill of this size."""
    made = _rows(rows, random.Random(f"rows {seed}"))
    return Plan(
        seed=seed,
        rows=made,
        strikes=_strikes(rows, kills, random.Random(f"strikes {seed}")),
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
    if kind is Kind.FATAL:  # each takes a worker down four times or so
        return min(5, 1 + rows // 4000)
    return 1 + rows // (2000 if kind in {Kind.HANG, Kind.BOMB} else 1000)


def _strikes(rows: int, kills: int, draw: random.Random) -> tuple[Strike, ...]:
    wanted = {
        Fault.KILL: kills,
        Fault.CUT_CONNECTIONS: 1 + kills // 10,
        Fault.BROKER_RESTART: 1 + kills // 60,
        Fault.WIPE: 1 + kills // 100,
        Fault.FREEZE: 1 + kills // 20,
        Fault.DISK_FULL: 1 + kills // 40,
        Fault.OUTPUT_AWAY: 1 + kills // 40,
        Fault.LOST_REPLY: 2 + kills // 10,
    }
    drawn = [_strike(fault, rows, draw) for fault, count in wanted.items() for _ in range(count)]
    return tuple(sorted(drawn, key=lambda strike: (strike.at_row, strike.delay_seconds)))


def _strike(fault: Fault, rows: int, draw: random.Random) -> Strike:
    at_row = draw.randint(rows // 50, rows * 17 // 20)
    node = draw.choice(["n1", "n2"])
    role = draw.choices(["gpu0", "io", "results", "beat"], [35, 30, 25, 10])[0]
    target, seconds = {
        Fault.KILL: (role, 0.0),
        Fault.BROKER_RESTART: ("", draw.uniform(1, 4)),
        Fault.FREEZE: ("gpu0", draw.uniform(VISIBILITY_SECONDS + 2, DEADLINE_SECONDS + 3)),
        Fault.DISK_FULL: (node, draw.uniform(2, 6)),
        Fault.OUTPUT_AWAY: ("", draw.uniform(2, 6)),
    }.get(fault, ("", 0.0))
    return Strike(fault, at_row, draw.uniform(0, 0.5), target, round(seconds, 2))


def _store_faults(rows: tuple[Row, ...], draw: random.Random) -> dict[str, tuple[StoreFault, ...]]:
    """CPFS fails in every way; OSS, the last to be asked, only in ways that pass, and never twice for one video."""
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
