from __future__ import annotations

from dataclasses import replace

import pytest
import redis

from storage.errors import UsageError
from storage.ledger import Ledger, ShardState
from tests.unit.storage.ledger.ledger_steps import RUN, SPEC, claim, counts, finish, is_complete, record_all, submit

# -- runs --


def test_a_submitted_run_can_be_read_back(ledger: Ledger) -> None:
    run, is_new = ledger.submit(SPEC, total_rows=10, shard_rows=4, extra_columns=("lang", "größe"))
    assert is_new
    assert (run.run_id, run.spec, run.total_rows, run.shard_rows) == (RUN, SPEC, 10, 4)
    assert (run.extra_columns, run.cursor, run.is_complete) == (("lang", "größe"), 0, False)
    assert ledger.run(RUN) == run


def test_submitting_again_resumes_the_run_and_keeps_its_progress(ledger: Ledger) -> None:
    submit(ledger, 10)
    claim(ledger)
    run, is_new = ledger.submit(SPEC, total_rows=10, shard_rows=7, extra_columns=())
    assert not is_new
    assert (run.cursor, run.shard_rows, run.extra_columns) == (4, 4, ("lang",))


def test_a_grown_table_extends_the_run_in_fresh_shards(ledger: Ledger) -> None:
    submit(ledger, 6)
    finish(ledger, claim(ledger))
    short = claim(ledger)
    assert short.ordinals == (4, 5)
    finish(ledger, short)
    assert is_complete(ledger)

    submit(ledger, 13)
    assert not is_complete(ledger)
    assert [claim(ledger).ordinals for _ in range(2)] == [(6, 7, 8, 9), (10, 11, 12)]


def test_a_table_that_grows_before_its_last_shard_is_fed_leaves_no_short_shard(ledger: Ledger) -> None:
    submit(ledger, 6)
    claim(ledger)
    submit(ledger, 9)
    assert claim(ledger).ordinals == (4, 5, 6, 7)


def test_a_shrunk_table_is_a_usage_error_that_names_both_counts(ledger: Ledger) -> None:
    submit(ledger, 10)
    with pytest.raises(UsageError, match=r"10 rows.*now has 9"):
        submit(ledger, 9)
    assert counts(ledger).rows == 10


def test_an_empty_run_is_complete_at_once(ledger: Ledger) -> None:
    submit(ledger, 0)
    assert is_complete(ledger)
    assert ledger.claim_shard(RUN, max_open=1) is None


def test_impossible_sizes_are_refused(ledger: Ledger) -> None:
    for total_rows, shard_rows in ((-1, 4), (2**32 + 1, 4), (4, 0)):
        with pytest.raises(ValueError, match="are possible"):
            submit(ledger, total_rows, shard_rows)


def test_runs_are_listed_newest_first(ledger: Ledger, client: redis.Redis) -> None:
    specs = [replace(SPEC, outputs=f"out{i}") for i in range(3)]
    for age_seconds, spec in enumerate(specs):
        submit(ledger, 1, spec=spec)
        client.hincrby(f"tamis:run:{{{spec.run_id}}}", "submitted", -1000 * age_seconds)
    assert [run.spec for run in ledger.runs()] == specs


def test_a_run_is_found_by_the_start_of_its_id(ledger: Ledger) -> None:
    submit(ledger, 1)
    assert ledger.find(RUN[:5]).run_id == RUN
    assert ledger.find(RUN).run_id == RUN


def test_an_unknown_or_ambiguous_id_names_the_candidates(ledger: Ledger) -> None:
    with pytest.raises(UsageError, match="none at all"):
        ledger.find("beef")
    submit(ledger, 1)
    submit(ledger, 1, spec=replace(SPEC, outputs="other"))
    with pytest.raises(UsageError, match=f"'x' matches no run.*{RUN}"):
        ledger.find("x")
    with pytest.raises(UsageError, match=f"ambiguous.*{RUN}"):
        ledger.find("")


def test_a_forgotten_run_leaves_no_key_behind(ledger: Ledger, client: redis.Redis) -> None:
    submit(ledger, 20)
    finish(ledger, claim(ledger), "corrupt_video")
    finish(ledger, claim(ledger), "bad_row")
    ledger.open_retry(RUN, "again", {0: "corrupt_video", 1: "corrupt_video"})
    claim(ledger)
    record_all(ledger, claim(ledger))
    shard = claim(ledger)
    ledger.attempts.begin(RUN, shard.shard_id, shard.ordinals[0], "infer")
    assert ledger.open_retry(RUN, "still queued", {2: "corrupt_video"}) == 1
    ledger.forget(RUN)
    assert client.keys("*") == []
    assert ledger.runs() == []


def test_one_runs_keys_share_a_cluster_slot(ledger: Ledger, client: redis.Redis) -> None:
    submit(ledger, 8)
    finish(ledger, claim(ledger), "bad_row")
    record_all(ledger, claim(ledger))
    keys = [str(key) for key in client.keys("*") if key != b"tamis:runs"]
    assert len(keys) > 5
    assert all(f"tamis:run:{{{RUN}}}" in key for key in keys)


def test_prefixes_keep_ledgers_apart(ledger: Ledger, client: redis.Redis) -> None:
    submit(ledger, 8)
    other = Ledger(client, prefix="other:")
    assert other.run(RUN) is None
    assert other.runs() == []


# -- claiming --


def test_shards_are_claimed_in_order_up_to_the_limit(ledger: Ledger) -> None:
    submit(ledger, 10)
    first, second = claim(ledger, 2), claim(ledger, 2)
    assert (first.ordinals, second.ordinals) == ((0, 1, 2, 3), (4, 5, 6, 7))
    assert ledger.claim_shard(RUN, max_open=2) is None
    finish(ledger, first)
    assert claim(ledger, 2).ordinals == (8, 9)
    finish(ledger, second)
    assert ledger.claim_shard(RUN, max_open=2) is None


def test_a_shard_id_is_its_range_so_a_wiped_ledger_never_reuses_an_id_for_other_rows(
    ledger: Ledger, client: redis.Redis
) -> None:
    submit(ledger, 10)
    before = {shard.shard_id: shard.ordinals for shard in (claim(ledger) for _ in range(3))}
    client.flushall()
    submit(ledger, 10, shard_rows=3)
    after = {shard.shard_id: shard.ordinals for shard in (claim(ledger) for _ in range(4))}
    assert all(before.get(shard_id, ordinals) == ordinals for shard_id, ordinals in after.items())


def test_a_shard_larger_than_any_compact_encoding_is_claimed_whole(ledger: Ledger) -> None:
    submit(ledger, 20_000, shard_rows=12_000)
    assert claim(ledger).ordinals == tuple(range(12_000))
    settled = ledger.settle(RUN, "0-12000", dict.fromkeys(range(12_000), "ok"))
    assert settled == ShardState(is_open=False, missing=())


# -- nodes --


def test_nodes_are_alive_by_role(ledger: Ledger, client: redis.Redis) -> None:
    ledger.heartbeats.beat_node("n1", ["io", "gpu"])
    ledger.heartbeats.beat_node("n2", ["gpu"])
    client.zincrby("tamis:nodes", -3_600_000, "gpu n1")
    by_name = {node.name: node.roles for node in ledger.heartbeats.nodes(max_age_seconds=1800)}
    assert by_name == {"n1": {"io"}, "n2": {"gpu"}}
    assert {node.name: node.roles for node in ledger.heartbeats.nodes(7200)}["n1"] == {"io", "gpu"}
    assert all(node.age_seconds < 1800 for node in ledger.heartbeats.nodes(7200))


def test_a_node_without_heartbeats_for_long_is_dropped(ledger: Ledger, client: redis.Redis) -> None:
    ledger.heartbeats.beat_node("gone", ["io"])
    client.zincrby("tamis:nodes", -30 * 24 * 3_600_000, "io gone")
    ledger.heartbeats.beat_node("here", ["io"])
    assert client.zrange("tamis:nodes", 0, -1) == [b"io here"]
    with pytest.raises(ValueError, match="one word"):
        ledger.heartbeats.beat_node("here", ["gpu io"])
