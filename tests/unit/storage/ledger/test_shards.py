from __future__ import annotations

import pytest
import redis

from storage.ledger import Attempt, Counts, Ledger, NotBegun, Recorded, ShardState
from tests.unit.storage.ledger.ledger_steps import RUN, claim, counts, finish, is_complete, record_all, submit, unended

# -- settling --


def test_rows_that_already_stand_are_settled_and_the_rest_is_left_to_feed(ledger: Ledger) -> None:
    submit(ledger, 10)
    shard = claim(ledger)
    for _ in range(2):
        state = ledger.settle(RUN, shard.shard_id, {0: "ok", 2: "corrupt_video"})
        assert state == ShardState(is_open=True, missing=(1, 3))
    assert counts(ledger) == Counts(10, 1, 1, {"corrupt_video": 1}, 4, 1)
    assert ledger.missing(RUN, shard.shard_id) == (1, 3)
    assert ledger.is_recorded(RUN, shard.shard_id, 0)


def test_a_shard_that_is_settled_whole_closes_at_once(ledger: Ledger) -> None:
    submit(ledger, 4)
    shard = claim(ledger)
    state = ledger.settle(RUN, shard.shard_id, dict.fromkeys(shard.ordinals, "ok"))
    assert state == ShardState(is_open=False, missing=())
    assert is_complete(ledger)
    assert ledger.settle(RUN, shard.shard_id, {0: "ok"}) == state


def test_a_shard_that_holds_results_stays_open_to_be_written_when_the_rest_is_settled(ledger: Ledger) -> None:
    submit(ledger, 4)
    shard = claim(ledger)
    ledger.record(RUN, shard.shard_id, 1, b"one", "ok")
    state = ledger.settle(RUN, shard.shard_id, {0: "ok", 1: "corrupt_video", 2: "ok", 3: "ok"})
    assert state.is_full
    assert ledger.results(RUN, shard.shard_id) == {1: b"one"}
    assert counts(ledger).ok == 4


def test_a_retry_is_never_settled(ledger: Ledger) -> None:
    submit(ledger, 4)
    finish(ledger, claim(ledger), "bad_row")
    ledger.open_retry(RUN, "t", {0: "bad_row"})
    shard = claim(ledger)
    assert shard.is_retry
    with pytest.raises(ValueError, match="is a retry"):
        ledger.settle(RUN, shard.shard_id, {0: "bad_row"})


def test_settling_a_foreign_row_is_refused_and_changes_nothing(ledger: Ledger) -> None:
    submit(ledger, 10)
    shard = claim(ledger)
    with pytest.raises(ValueError, match="row 9 does not belong to shard 0-4"):
        ledger.settle(RUN, shard.shard_id, {0: "ok", 9: "ok"})
    assert counts(ledger).ok == 0


# -- recording --


def test_the_first_result_wins_and_only_the_first_counts(ledger: Ledger) -> None:
    submit(ledger, 2, shard_rows=2)
    shard = claim(ledger)
    assert ledger.record(RUN, shard.shard_id, 0, b"first", "ok") == Recorded(is_first=True, is_full=False)
    assert ledger.record(RUN, shard.shard_id, 0, b"second", "corrupt_video") == Recorded(is_first=False, is_full=False)
    assert counts(ledger) == Counts(2, 1, 0, {}, 2, 1)
    assert not ledger.is_full(RUN, shard.shard_id)
    assert ledger.record(RUN, shard.shard_id, 1, b"other", "ok") == Recorded(is_first=True, is_full=True)
    assert ledger.results(RUN, shard.shard_id) == {0: b"first", 1: b"other"}


def test_a_repeated_recorder_learns_that_the_shard_still_waits_to_be_written(ledger: Ledger) -> None:
    submit(ledger, 4)
    shard = claim(ledger)
    record_all(ledger, shard)
    assert ledger.record(RUN, shard.shard_id, 2, b"late", "ok") == Recorded(is_first=False, is_full=True)
    assert ledger.is_full(RUN, shard.shard_id)
    assert ledger.close_shard(RUN, shard.shard_id)
    assert ledger.record(RUN, shard.shard_id, 2, b"late", "ok") == Recorded(is_first=False, is_full=False)
    assert not ledger.is_full(RUN, shard.shard_id)
    assert counts(ledger).ok == 4


def test_payloads_are_kept_byte_for_byte(ledger: Ledger) -> None:
    submit(ledger, 2, shard_rows=2)
    shard = claim(ledger)
    payloads = {0: bytes(range(256)) * 40, 1: b""}
    for ordinal, payload in payloads.items():
        ledger.record(RUN, shard.shard_id, ordinal, payload, "ok")
    assert ledger.results(RUN, shard.shard_id) == payloads


def test_a_partial_shard_gives_no_results(ledger: Ledger) -> None:
    submit(ledger, 4)
    shard = claim(ledger)
    ledger.record(RUN, shard.shard_id, 0, b"x", "ok")
    assert ledger.results(RUN, shard.shard_id) is None
    assert ledger.missing(RUN, shard.shard_id) == (1, 2, 3)
    assert not ledger.is_recorded(RUN, shard.shard_id, 1)


def test_a_foreign_row_is_refused(ledger: Ledger) -> None:
    submit(ledger, 10)
    shard = claim(ledger)
    with pytest.raises(ValueError, match="row 4 does not belong"):
        ledger.record(RUN, shard.shard_id, 4, b"x", "ok")
    with pytest.raises(ValueError, match="row 4 does not belong"):
        ledger.is_recorded(RUN, shard.shard_id, 4)
    with pytest.raises(ValueError, match="row 4 does not belong"):
        ledger.attempts.begin(RUN, shard.shard_id, 4, "infer")
    with pytest.raises(ValueError, match="empty"):
        ledger.record(RUN, shard.shard_id, 0, b"x", "")


# -- rows that the output cannot hold --


def test_an_amended_row_counts_under_its_new_outcome_and_can_be_retried(ledger: Ledger) -> None:
    submit(ledger, 4)
    shard = claim(ledger)
    record_all(ledger, shard)
    for _ in range(2):
        ledger.amend(RUN, shard.shard_id, {1: "row_unwritable"})
    assert counts(ledger) == Counts(4, 3, 1, {"row_unwritable": 1}, 4, 1)
    assert ledger.close_shard(RUN, shard.shard_id)
    assert ledger.amend(RUN, shard.shard_id, {2: "row_unwritable"}) == 0
    assert ledger.open_retry(RUN, "t", {1: "row_unwritable", 2: "row_unwritable"}) == 1


def test_refused_writes_are_counted_while_the_shard_is_open(ledger: Ledger) -> None:
    submit(ledger, 4)
    shard = claim(ledger)
    record_all(ledger, shard)
    assert [ledger.note_refused_write(RUN, shard.shard_id) for _ in range(3)] == [1, 2, 3]
    ledger.close_shard(RUN, shard.shard_id)
    assert ledger.note_refused_write(RUN, shard.shard_id) == 0


# -- closing --


def test_closing_drops_what_the_shard_held_and_happens_once(ledger: Ledger, client: redis.Redis) -> None:
    submit(ledger, 8)
    shard = claim(ledger)
    ledger.attempts.begin(RUN, shard.shard_id, 0, "infer")
    record_all(ledger, shard)
    assert [ledger.close_shard(RUN, shard.shard_id) for _ in range(2)] == [True, False]
    assert client.keys("*:shard:*") == []
    assert ledger.results(RUN, shard.shard_id) is None
    assert ledger.is_recorded(RUN, shard.shard_id, 0)
    assert not is_complete(ledger)
    finish(ledger, claim(ledger))
    assert is_complete(ledger)


def test_a_shard_with_missing_rows_is_not_closed(ledger: Ledger) -> None:
    submit(ledger, 4)
    shard = claim(ledger)
    assert not ledger.close_shard(RUN, shard.shard_id)
    assert ledger.missing(RUN, shard.shard_id) == (0, 1, 2, 3)


# -- progress --


def test_a_shard_is_idle_since_its_last_progress(ledger: Ledger, client: redis.Redis) -> None:
    submit(ledger, 8)
    shard, other = claim(ledger), claim(ledger)

    def idle_seconds() -> float:
        return next(seen.idle_seconds for seen in ledger.open_shards(RUN) if seen.shard_id == shard.shard_id)

    def wait_an_hour() -> None:
        client.zincrby(f"tamis:run:{{{RUN}}}:open", -3_600_000, shard.shard_id)

    wait_an_hour()
    assert 3600 <= idle_seconds() < 7200
    assert [seen.shard_id for seen in ledger.open_shards(RUN)] == [shard.shard_id, other.shard_id]
    ledger.record(RUN, shard.shard_id, 0, b"x", "ok")
    assert idle_seconds() < 3600
    wait_an_hour()
    ledger.record(RUN, shard.shard_id, 0, b"x", "ok")  # a duplicate is no progress
    assert idle_seconds() >= 3600
    assert [ledger.note_refeed(RUN, shard.shard_id) for _ in range(2)] == [1, 2]
    assert idle_seconds() < 3600
    seen = next(seen for seen in ledger.open_shards(RUN) if seen.shard_id == shard.shard_id)
    assert (seen.recorded, seen.expected, seen.is_full, seen.refeeds, seen.is_retry) == (1, 4, False, 2, False)


def test_attempts_are_counted_per_row_and_step_until_forgotten(ledger: Ledger) -> None:
    submit(ledger, 20, shard_rows=20)
    shard = claim(ledger).shard_id
    assert [ledger.attempts.begin(RUN, shard, 1, "infer").number for _ in range(3)] == [1, 2, 3]
    assert ledger.attempts.begin(RUN, shard, 1, "download").number == 1
    assert ledger.attempts.begin(RUN, shard, 11, "infer").number == 1
    ledger.attempts.forget(RUN, shard, 1)
    assert ledger.attempts.begin(RUN, shard, 1, "infer").number == 1
    assert ledger.attempts.begin(RUN, shard, 1, "download").number == 1
    assert ledger.attempts.begin(RUN, shard, 11, "infer").number == 2


def test_an_attempt_that_never_ended_is_told_from_one_that_failed_in_order(ledger: Ledger, client: redis.Redis) -> None:
    submit(ledger, 4)
    shard = claim(ledger).shard_id
    assert ledger.attempts.begin(RUN, shard, 1, "infer").unended_before == 0
    ledger.attempts.end(RUN, shard, 1, "infer")
    assert unended(client, shard, 1, "infer") == 0
    assert ledger.attempts.begin(RUN, shard, 1, "infer").unended_before == 0  # the process dies under this one
    assert unended(client, shard, 1, "infer") == 1
    assert ledger.attempts.begin(RUN, shard, 1, "infer").unended_before == 1
    assert unended(client, shard, 1, "download") == 0
    assert unended(client, shard, 2, "infer") == 0
    for _ in range(5):
        ledger.attempts.end(RUN, shard, 1, "infer")  # a duplicate's end counts no attempt away that never was
    assert unended(client, shard, 1, "infer") == 0
    ledger.attempts.forget(RUN, shard, 1)
    assert ledger.attempts.begin(RUN, shard, 1, "infer").number == 1


def test_an_attempt_whose_reply_was_lost_and_which_is_sent_again_counts_once(
    ledger: Ledger, client: redis.Redis
) -> None:
    submit(ledger, 4)
    shard = claim(ledger).shard_id
    ledger.attempts.begin(RUN, shard, 1, "infer", "worker.1")
    for _ in range(2):
        attempt = ledger.attempts.begin(RUN, shard, 1, "infer", "worker.2")
        assert (attempt.number, attempt.unended_before) == (2, 1)
    for _ in range(2):
        ledger.attempts.end(RUN, shard, 1, "infer", "worker.2")
        assert unended(client, shard, 1, "infer") == 1


def test_an_attempt_that_was_forgotten_while_it_ran_ends_no_other(ledger: Ledger, client: redis.Redis) -> None:
    submit(ledger, 4)
    shard = claim(ledger).shard_id
    ledger.attempts.begin(RUN, shard, 1, "infer", "worker.1")
    ledger.attempts.forget(RUN, shard, 1)
    ledger.attempts.begin(RUN, shard, 1, "infer", "other.1")
    ledger.attempts.end(RUN, shard, 1, "infer", "worker.1")
    assert unended(client, shard, 1, "infer") == 1


def test_attempts_at_a_closed_shard_are_number_zero(ledger: Ledger) -> None:
    submit(ledger, 4)
    shard = claim(ledger)
    finish(ledger, shard)
    attempt = ledger.attempts.begin(RUN, shard.shard_id, 1, "infer")
    assert (attempt.number, attempt.unended_before) == (0, 0)
    assert attempt.not_begun is NotBegun.RECORDED


def test_an_attempt_is_not_begun_when_result_order_or_unended_attempts_forbid_it(
    ledger: Ledger, client: redis.Redis
) -> None:
    submit(ledger, 4)
    shard = claim(ledger).shard_id
    ledger.attempts.begin(RUN, shard, 1, "infer", "worker.1")
    assert ledger.attempts.begin(RUN, shard, 1, "infer", most_unended=1) == Attempt(2, 1)
    assert ledger.attempts.begin(RUN, shard, 1, "infer", most_unended=1) == Attempt(0, 2, NotBegun.SUSPECTED)
    ledger.orders.pause(RUN)
    assert ledger.attempts.begin(RUN, shard, 2, "infer") == Attempt(0, 0, NotBegun.PAUSED)
    assert ledger.attempts.begin(RUN, shard, 1, "infer", "worker.1") == Attempt(2, 1), "its first reply was lost"
    ledger.record(RUN, shard, 3, b"payload", "ok")
    assert ledger.attempts.begin(RUN, shard, 3, "infer") == Attempt(0, 0, NotBegun.RECORDED)
    assert unended(client, shard, 2, "infer") == unended(client, shard, 3, "infer") == 0


def test_a_result_ends_the_attempt_that_gave_it_and_no_other(ledger: Ledger, client: redis.Redis) -> None:
    submit(ledger, 4)
    shard = claim(ledger).shard_id
    for token in ("worker.1", "worker.2"):
        ledger.attempts.begin(RUN, shard, 1, "infer", token)
    for _ in range(2):
        ledger.record(RUN, shard, 1, b"payload", "ok", step="infer", token="worker.1")
        assert unended(client, shard, 1, "infer") == 1
    assert not ledger.record(RUN, shard, 1, b"payload", "ok", step="infer", token="worker.2").is_first
    assert unended(client, shard, 1, "infer") == 0
