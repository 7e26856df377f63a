from __future__ import annotations

import random

import redis

from storage.ledger import Ledger, RunSpec
from tests.valkey import valkey_server

SPEC = RunSpec("in", "out", ("vfx",), "starter", "d1")
RUN = SPEC.run_id
ROWS = 256
PAYLOAD_BYTES = 800


def memory_bytes(client: redis.Redis) -> int:
    """Sum over the run's keys, including each key's overhead."""
    return sum(int(client.memory_usage(key, samples=0) or 0) for key in client.keys("tamis:run:*"))


def test_memory_is_bounded_by_the_rows_in_flight() -> None:
    with valkey_server() as server, server.client() as client:
        ledger = Ledger(client)
        ledger.submit(SPEC, total_rows=10 * ROWS, shard_rows=ROWS, extra_columns=())
        assert memory_bytes(client) < 2_000
        peaks = []
        for _ in range(10):
            shard = ledger.claim_shard(RUN, max_open=1)
            assert shard is not None
            assert memory_bytes(client) < 2_000 + 12 * ROWS
            for ordinal in shard.ordinals:
                ledger.attempts.begin(RUN, shard.shard_id, ordinal, "infer")
                payload = random.Random(ordinal).randbytes(PAYLOAD_BYTES)
                ledger.record(RUN, shard.shard_id, ordinal, payload, "ok" if ordinal % 10 else "bad_row")
            peaks.append(memory_bytes(client))
            ledger.close_shard(RUN, shard.shard_id)
        assert max(peaks) < 2_000 + (PAYLOAD_BYTES + 200) * ROWS
        assert peaks[-1] < peaks[0] * 1.2
        assert memory_bytes(client) < 4_000  # of it 2,000 for the points of its progress
