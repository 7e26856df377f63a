"""Conditions that must hold at every check while the drill runs."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field
from typing import TypeVar

from storage.errors import Unavailable
from storage.ledger import Counts, Ledger
from storage.spool.files import NAME
from storage.spool.spool import INDEX_NAME
from tests.drill.tables import DrillOutput
from tests.drill.world import SPOOL_BYTES, DrillWorld

T = TypeVar("T")

PROBLEMS = 50  # enough to see what is wrong


@dataclass
class Invariants:
    """Checks ledger, output table and spools from outside; keeps the problems."""

    world: DrillWorld
    ledger: Ledger
    run_id: str
    output: DrillOutput
    problems: list[str] = field(default_factory=list)
    checks: int = 0
    done_rows: int = 0
    most_spool_bytes: int = 0
    is_complete: bool = False
    _counted: int = 0

    def check(self) -> None:
        """Check everything once; skip the ledger while it cannot be reached."""
        self.checks += 1
        written = self.written()
        try:
            counts, run = self.ledger.counts(self.run_id), self.ledger.run(self.run_id)
        except Unavailable:
            counts = run = None
        if counts is not None:
            self._check_counts(counts)
        self.is_complete = run is not None and run.is_complete and written == self.world.rows
        self.done_rows = max(self.done_rows, written, counts.ok + counts.failed if counts else 0)
        for node in self.world.nodes:
            self._check_spool(node)

    def written(self) -> int:
        """Return the number of rows in the output, as its readers see it."""
        return len(self.output.results())

    def may_count_again(self) -> None:
        """Accept lower counts once: the ledger was emptied, or restarted with older data."""
        self._counted = 0

    def expect(self, holds: bool, problem: str) -> None:
        """Note a problem unless ``holds``."""
        if not holds and len(self.problems) < PROBLEMS:
            self.problems.append(problem)

    def _check_counts(self, counts: Counts) -> None:
        said = f"rows {counts.rows} = ok {counts.ok} + failed {counts.failed} + in flight {counts.in_flight}"
        self.expect(counts.rows == self.world.rows, f"{said}: there are {self.world.rows}")
        self.expect(min(counts.ok, counts.failed, counts.in_flight) >= 0, f"{said}: less than nothing")
        self.expect(counts.failed == sum(counts.failures.values()), f"{said}: failures are {dict(counts.failures)}")
        self.expect(counts.ok + counts.failed >= self._counted, f"{said}: {self._counted} were done before")
        self._counted = counts.ok + counts.failed

    def _check_spool(self, node: str) -> None:
        used = spool_bytes(self.world, node)
        if used is not None:
            self.most_spool_bytes = max(self.most_spool_bytes, used)
            self.expect(used <= SPOOL_BYTES, f"the spool of {node} holds {used} bytes, over its limit of {SPOOL_BYTES}")


def spool_bytes(world: DrillWorld, node: str) -> int | None:
    """Return the bytes of the videos in the spool, measured under its lock; None while its index is busy."""

    def measure(_index: sqlite3.Connection) -> int:
        return sum(path.stat().st_size for path in world.spool(node).iterdir() if NAME.fullmatch(path.name))

    return _locked(world, node, measure)


def spool_leases(world: DrillWorld, node: str) -> list[str] | None:
    """Return the holders of leases in the spool; None while its index is busy."""
    query = "SELECT holder FROM leases WHERE expires_at > ?"
    return _locked(world, node, lambda index: [holder for (holder,) in index.execute(query, (time.time(),))])


def _locked(world: DrillWorld, node: str, read: Callable[[sqlite3.Connection], T]) -> T | None:
    path = world.spool(node) / INDEX_NAME
    if not path.exists():
        return None
    try:
        with closing(sqlite3.connect(f"file:{path}?mode=rw", uri=True, timeout=2, isolation_level=None)) as index:
            index.execute("BEGIN IMMEDIATE")
            return read(index)
    except (sqlite3.OperationalError, FileNotFoundError):
        return None
