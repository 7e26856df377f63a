"""Orders of an operator to a run: pause, go on, cancel. They live in the ledger, so they outlast every process.

A worker that receives a row of an ordered run drops its message: the row stays without a result in its open shard. When
a paused run goes on, the feeder feeds those rows again. A cancelled run's shards are cut to the rows that have a result
and written; submitting the run again does the others.
"""

from __future__ import annotations

import redis

from storage.ledger.model import RunOrder
from storage.ledger.scripts import Scripts, answering, read_at_once


class RunOrders:
    """The orders of all runs. Thread-safe; raises ``Unavailable`` when the server does not answer."""

    def __init__(self, client: redis.Redis, *, prefix: str = "tamis:") -> None:
        self._client = client
        self._prefix = prefix
        self._scripts = Scripts.registered_with(client)

    def of(self, run_id: str) -> RunOrder:
        """Return the run's order; ``NONE`` for an unknown run."""
        (order,) = read_at_once(self._client, ("HGET", self._key(run_id), "order"))
        return RunOrder(order.decode()) if order else RunOrder.NONE

    def pause(self, run_id: str) -> RunOrder:
        """Order that nothing of the run is begun; return the order that now stands: a cancelled run stays so."""
        return self._give(run_id, RunOrder.PAUSED)

    def resume(self, run_id: str) -> RunOrder:
        """Let a paused run go on; return the order that now stands: a cancelled run is submitted again instead."""
        return self._give(run_id, RunOrder.NONE)

    def cancel(self, run_id: str) -> RunOrder:
        """Order that the run ends with the rows that have a result; return the order that now stands."""
        return self._give(run_id, RunOrder.CANCELLED)

    def unfed_resumption(self, run_id: str) -> int:
        """Return the number of the last resumption whose dropped rows were not fed again yet; 0 if there is none."""
        ((resumed, fed),) = read_at_once(self._client, ("HMGET", self._key(run_id), "resumed", "refed"))
        return int(resumed or 0) if int(resumed or 0) > int(fed or 0) else 0

    def note_fed_again(self, run_id: str, resumption: int) -> None:
        """Note that the rows dropped before this resumption were fed again."""
        with answering(self._client):
            self._scripts.note_refed(keys=[self._key(run_id)], args=[resumption])

    def cut_shard(self, run_id: str, shard_id: str, results: int) -> bool:
        """Close an open shard of a cancelled run whose ``results`` were written; its other rows get no result.

        ``False`` if it is closed, holds more results by now, or its run is not cancelled any more.
        """
        with answering(self._client):
            return bool(self._scripts.cut_shard(keys=[self._key(run_id)], args=[shard_id, results]))

    def _give(self, run_id: str, order: RunOrder) -> RunOrder:
        with answering(self._client):
            stands: bytes = self._scripts.give_order(keys=[self._key(run_id)], args=[order.value])
        return RunOrder(stands.decode())

    def _key(self, run_id: str) -> str:
        return f"{self._prefix}run:{{{run_id}}}"
