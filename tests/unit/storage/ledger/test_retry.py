from __future__ import annotations

import pytest
import redis

from storage.ledger import Counts, Ledger, Run, RunSpec, Shard

SPEC = RunSpec("in", "out", ("vfx",), "starter", "d1")
RUN = SPEC.run_id


@pytest.fixture
def ledger(client: redis.Redis) -> Ledger:
    """A complete run of 8 rows: even ordinals failed, 0 and 4 as corrupt, 2 and 6 as missing."""
    client.flushall()
    ledger = Ledger(client)
    ledger.submit(SPEC, total_rows=8, shard_rows=4, extra_columns=())
    for _ in range(2):
        finish(ledger, ("corrupt_video", "ok", "object_missing", "ok") * 2)
    return ledger


def finish(ledger: Ledger, outcomes: tuple[str, ...]) -> Shard:
    shard = ledger.claim_shard(RUN, max_open=1)
    assert shard is not None
    for ordinal in shard.ordinals:
        ledger.record(RUN, shard.shard_id, ordinal, b"x", outcomes[ordinal])
    assert ledger.close_shard(RUN, shard.shard_id)
    return shard


def run(ledger: Ledger) -> Run:
    found = ledger.run(RUN)
    assert found is not None
    return found


def test_retried_rows_are_in_flight_again(ledger: Ledger) -> None:
    assert run(ledger).is_complete
    assert ledger.open_retry(RUN, "t", {0: "corrupt_video", 4: "corrupt_video", 2: "object_missing"}) == 3
    assert ledger.counts(RUN) == Counts(8, 4, 1, {"object_missing": 1}, 8, 0)
    assert not run(ledger).is_complete


def test_retries_are_claimed_before_base_shards_under_the_same_limit(ledger: Ledger) -> None:
    ledger.submit(SPEC, total_rows=20, shard_rows=4, extra_columns=())
    ledger.open_retry(RUN, "t", {0: "corrupt_video"})
    ledger.open_retry(RUN, "t", {2: "object_missing"})
    claimed = [ledger.claim_shard(RUN, max_open=3) for _ in range(4)]
    assert [shard and shard.ordinals for shard in claimed] == [(0,), (2,), (8, 9, 10, 11), None]


def test_a_retried_row_is_counted_by_its_new_outcome(ledger: Ledger) -> None:
    ledger.open_retry(RUN, "t", {0: "corrupt_video", 4: "corrupt_video"})
    shard = finish(ledger, ("ok", "", "", "", "decode_timeout"))
    assert shard.shard_id.startswith("retry-t-")
    assert ledger.counts(RUN) == Counts(8, 5, 3, {"object_missing": 2, "decode_timeout": 1}, 8, 0)
    assert run(ledger).is_complete


def test_a_later_retry_has_a_higher_generation_also_after_a_wipe(ledger: Ledger, client: redis.Redis) -> None:
    seen = [0]
    for round_number in range(4):
        if round_number == 2:
            client.flushall()
            ledger.submit(SPEC, total_rows=8, shard_rows=4, extra_columns=())
            for _ in range(2):
                base = finish(ledger, ("corrupt_video",) * 8)
                assert ledger.generation(RUN, base.shard_id) == 0
        assert ledger.open_retry(RUN, f"t{round_number}", {0: "corrupt_video"}) == 1
        shard = ledger.claim_shard(RUN, max_open=1)
        assert shard is not None
        seen.append(ledger.generation(RUN, shard.shard_id))
        ledger.record(RUN, shard.shard_id, 0, b"x", "corrupt_video")
        assert ledger.close_shard(RUN, shard.shard_id)
    assert seen == sorted(set(seen))


def test_the_same_request_twice_has_one_effect(ledger: Ledger) -> None:
    chunk = {0: "corrupt_video", 4: "corrupt_video"}
    assert [ledger.open_retry(RUN, "t", chunk) for _ in range(2)] == [2, 0]
    finish(ledger, ("corrupt_video",) * 8)
    assert ledger.open_retry(RUN, "t", chunk) == 0
    assert run(ledger).is_complete
    assert ledger.open_retry(RUN, "u", chunk) == 2


def test_rows_already_taken_by_another_request_are_ignored(ledger: Ledger) -> None:
    assert ledger.open_retry(RUN, "a", {0: "corrupt_video"}) == 1
    assert ledger.open_retry(RUN, "b", {0: "corrupt_video", 4: "corrupt_video"}) == 1
    assert ledger.claim_shard(RUN, max_open=9) is not None
    assert ledger.open_retry(RUN, "c", {0: "corrupt_video"}) == 0


def test_an_outdated_list_of_failures_has_no_effect(ledger: Ledger) -> None:
    """Row 0 succeeded and row 4 failed for another reason since the list was read; 1 never failed; 99 is no row."""
    ledger.open_retry(RUN, "a", {0: "corrupt_video", 4: "corrupt_video"})
    finish(ledger, ("ok", "", "", "", "bad_row"))
    before = ledger.counts(RUN)
    assert ledger.open_retry(RUN, "b", {0: "corrupt_video", 4: "corrupt_video", 1: "bad_row", 99: "bad_row"}) == 0
    assert ledger.counts(RUN) == before
    assert run(ledger).is_complete


def test_rows_of_open_or_unfed_shards_are_ignored(ledger: Ledger) -> None:
    ledger.submit(SPEC, total_rows=16, shard_rows=4, extra_columns=())
    shard = ledger.claim_shard(RUN, max_open=1)
    assert shard is not None
    ledger.record(RUN, shard.shard_id, 8, b"x", "bad_row")
    assert ledger.open_retry(RUN, "t", {8: "bad_row", 9: "bad_row", 13: "bad_row"}) == 0


def test_rows_settled_as_failed_can_be_retried(ledger: Ledger, client: redis.Redis) -> None:
    client.flushall()
    ledger.submit(SPEC, total_rows=4, shard_rows=4, extra_columns=())
    assert ledger.claim_shard(RUN, max_open=1) is not None
    ledger.settle(RUN, "0-4", {0: "ok", 1: "bad_row", 2: "ok", 3: "ok"})
    assert run(ledger).is_complete
    assert ledger.open_retry(RUN, "t", {1: "bad_row"}) == 1


def test_many_rows_are_cut_into_shards_of_the_runs_size(ledger: Ledger) -> None:
    ledger.submit(SPEC, total_rows=20, shard_rows=4, extra_columns=())
    for _ in range(3):
        finish(ledger, ("bad_row",) * 20)
    assert ledger.open_retry(RUN, "t", dict.fromkeys(range(19, 9, -1), "bad_row")) == 10
    claimed = [ledger.claim_shard(RUN, max_open=9) for _ in range(4)]
    expected = [(10, 11, 12, 13), (14, 15, 16, 17), (18, 19), None]
    assert [shard and shard.ordinals for shard in claimed] == expected


def test_rows_that_the_run_does_not_have_are_ignored_and_codes_are_not_empty(ledger: Ledger) -> None:
    before = ledger.counts(RUN)
    assert ledger.open_retry(RUN, "t", {-1: "corrupt_video", 8: "corrupt_video", 2**40: "corrupt_video"}) == 0
    assert ledger.open_retry(RUN, "t", {}) == 0
    with pytest.raises(ValueError, match="empty"):
        ledger.open_retry(RUN, "t", {0: ""})
    assert ledger.counts(RUN) == before
