"""Real stores and tables with planned faults."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import BinaryIO

from storage.errors import ObjectMissing, Unavailable
from storage.objects.directory import DirectoryStore
from storage.objects.protocol import ObjectStat
from storage.records import ResultRow
from storage.tables.protocol import OutputTable
from storage.uri import ObjectUri
from tests.drill.plan import Plan, StoreFault
from tests.drill.rows import video_of
from tests.drill.world import DrillWorld

HANG_SECONDS = 2.0


class FaultyStore:
    """A directory store; each planned fault happens once, in the first process that asks."""

    def __init__(self, tier: str, world: DrillWorld, plan: Plan) -> None:
        self._tier, self._world, self._plan = tier, world, plan
        self._store = DirectoryStore(world.objects)

    def stat(self, uri: ObjectUri) -> ObjectStat:
        """Return the directory's answer; every tenth video is missing in CPFS."""
        if self._tier == "cpfs" and video_of(uri.key) % 10 == 3:
            raise ObjectMissing(f"{uri} is not on {self._tier}")
        return self._store.stat(uri)

    def fetch(self, uri: ObjectUri, stat: ObjectStat, into: BinaryIO) -> None:
        """Write the content, or cause the next fault that is planned for this video and tier."""
        fault = self._next_fault(uri)
        if fault is StoreFault.UNAVAILABLE:
            raise Unavailable(f"{uri}: {self._tier} says later")
        if fault is StoreFault.TORN:
            into.write(bytes(stat.size_bytes // 2))
            raise Unavailable(f"{uri}: the connection to {self._tier} broke")
        if fault is StoreFault.SHORT:
            into.write(bytes(stat.size_bytes - 1))
            return
        if fault is StoreFault.REPLACED:
            os.utime(self._store.root / uri.bucket / uri.key)
        if fault is StoreFault.HANG:
            time.sleep(HANG_SECONDS)
        self._store.fetch(uri, stat, into)
        if fault is StoreFault.LONG:
            into.write(b"and more")

    def put(self, path: Path, uri: ObjectUri) -> None:
        """Store the file in the directory."""
        self._store.put(path, uri)

    def _next_fault(self, uri: ObjectUri) -> StoreFault | None:
        place = f"{self._tier}/{video_of(uri.key)}"
        planned = self._plan.store_faults.get(place, ())
        return next((fault for n, fault in enumerate(planned) if self._world.claim(f"store/{place}/{n}")), None)


class FaultyOutput:
    """The real output table; at times it does not answer, or commits and loses the reply."""

    def __init__(self, table: OutputTable, world: DrillWorld) -> None:
        self._table, self._world = table, world

    @property
    def url(self) -> str:
        """The table's URL."""
        return self._table.url

    def prepare(self, extra_columns: Sequence[str]) -> None:
        """Check the table."""
        self._table.prepare(extra_columns)

    def write_batch(self, batch_id: str, rows: Sequence[ResultRow]) -> Mapping[int, str]:
        """Write the batch; raise afterwards when the reply is to be lost."""
        self._check_there()
        unwritable = self._table.write_batch(batch_id, rows)
        if lose_reply(self._world):
            raise Unavailable(f"{self.url}: the connection broke after the commit of {batch_id}")
        return unwritable

    def outcomes(self, run_id: str, start: int, stop: int) -> Mapping[int, str]:
        """Return the outcomes in the table."""
        self._check_there()
        return self._table.outcomes(run_id, start, stop)

    def count_results(self, run_id: str) -> int:
        """Return the number of results in the table."""
        self._check_there()
        return self._table.count_results(run_id)

    def results(self, run_id: str) -> Iterator[ResultRow]:
        """Return the results in the table."""
        self._check_there()
        return self._table.results(run_id)

    def close(self) -> None:
        """Close the table."""
        self._table.close()

    def _check_there(self) -> None:
        if (self._world.orders / "output-away").exists():
            raise Unavailable(f"{self.url} does not answer")


def lose_reply(world: DrillWorld) -> bool:
    """Return whether the reply of this commit is to be lost."""
    for order in world.orders.glob("lose-reply-*"):
        if world.claim(f"reply/{order.name}"):
            order.unlink()
            return True
    return False
