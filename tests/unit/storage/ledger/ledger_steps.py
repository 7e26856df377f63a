"""Steps of a run in the ledger."""

from __future__ import annotations

import redis

from storage.ledger import Counts, Ledger, RunSpec, Shard

SPEC = RunSpec("sqlite:////in.db#videos", "sqlite:////out.db#results", ("com", "vfx"), "starter", "d1")
RUN = SPEC.run_id


def submit(ledger: Ledger, total_rows: int, shard_rows: int = 4, spec: RunSpec = SPEC) -> None:
    ledger.submit(spec, total_rows=total_rows, shard_rows=shard_rows, extra_columns=("lang",))


def claim(ledger: Ledger, max_open: int = 100) -> Shard:
    shard = ledger.claim_shard(RUN, max_open=max_open)
    assert shard is not None
    return shard


def record_all(ledger: Ledger, shard: Shard, outcome: str = "ok") -> None:
    for ordinal in shard.ordinals:
        ledger.record(RUN, shard.shard_id, ordinal, b"payload", outcome)


def finish(ledger: Ledger, shard: Shard, outcome: str = "ok") -> None:
    record_all(ledger, shard, outcome)
    assert ledger.close_shard(RUN, shard.shard_id)


def counts(ledger: Ledger) -> Counts:
    found = ledger.counts(RUN)
    assert found is not None
    return found


def is_complete(ledger: Ledger) -> bool:
    run = ledger.run(RUN)
    assert run is not None
    return run.is_complete


def unended(client: redis.Redis, shard_id: str, ordinal: int, step: str) -> int:
    return int(client.hget(f"tamis:run:{{{RUN}}}:shard:{shard_id}:attempts", f"{ordinal}:{step}:unended") or 0)
