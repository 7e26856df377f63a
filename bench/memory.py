"""``python -m bench.memory``: bytes of Redis memory per row in flight, by its state, for docs/operations.md."""

from __future__ import annotations

import os
import sys
from contextlib import closing

import redis

from bench.flow import judged, messages_of
from storage.ledger import Ledger, RunSpec
from tests.valkey import valkey_server

ROWS = 4096
SHARD_ROWS = 256
WORKER = "0123456789abcdef"


def main() -> int:
    """Feed rows without a worker, then record them, and print the bytes of each state."""
    with valkey_server() as server, closing(server.client()) as client:
        os.environ["TAMIS_BROKER_URL"] = server.url  # before the Celery app exists
        from tasks.feed import publish

        rows = messages_of(ROWS)
        publish(rows)
        waiting = int(client.memory_usage("tamis:io", samples=0) or 0) / ROWS
        client.flushall()
        open_bytes, recorded_bytes = _in_the_ledger(client)
    sys.stdout.write(
        f"a message in the queue: {waiting:,.0f} bytes\n"
        f"a row of an open shard, begun once: {open_bytes:,.0f} bytes\n"
        f"a row that is recorded, until its shard is written: {recorded_bytes:,.0f} bytes\n"
    )
    return 0


def _in_the_ledger(client: redis.Redis) -> tuple[float, float]:
    ledger = Ledger(client)
    run = ledger.submit(
        RunSpec(tables="in", outputs="out", filters=("f",), manifest="m", manifest_digest="d"),
        total_rows=ROWS,
        shard_rows=SHARD_ROWS,
        extra_columns=(),
    )[0]
    empty, shards = _ledger_bytes(client), []
    while (shard := ledger.claim_shard(run.run_id, max_open=ROWS)) is not None:
        shards.append(shard)
        for ordinal in shard.ordinals:
            ledger.attempts.begin(run.run_id, shard.shard_id, ordinal, "infer", f"{WORKER}.{ordinal:06}")
    opened = _ledger_bytes(client)
    for row in messages_of(ROWS):
        shard_id = shards[row.ordinal // SHARD_ROWS].shard_id
        ledger.record(run.run_id, shard_id, row.ordinal, judged(row).to_bytes(), "ok")
    return (opened - empty) / ROWS, (_ledger_bytes(client) - empty) / ROWS


def _ledger_bytes(client: redis.Redis) -> int:
    return sum(int(client.memory_usage(key, samples=0) or 0) for key in client.scan_iter("tamis:run:*"))


if __name__ == "__main__":
    raise SystemExit(main())
