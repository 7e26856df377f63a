"""Shards given back, rows in progress, and the reasons that a run waits."""

from __future__ import annotations

import pytest
import redis

from storage.ledger import Ledger, RunSpec, Shard
from storage.ledger.ledger import TROUBLE_CHARACTERS

SPEC = RunSpec("in", "out", ("vfx",), "starter", "d1")
RUN = SPEC.run_id


@pytest.fixture
def ledger(client: redis.Redis) -> Ledger:
    client.flushall()
    ledger = Ledger(client)
    ledger.submit(SPEC, total_rows=8, shard_rows=4, extra_columns=())
    return ledger


def claim(ledger: Ledger) -> Shard:
    shard = ledger.claim_shard(RUN, max_open=10)
    assert shard is not None
    return shard


def test_a_shard_given_back_is_claimed_again_before_any_other(ledger: Ledger) -> None:
    first = claim(ledger)
    assert ledger.give_back(RUN, first.shard_id)
    assert ledger.open_shards(RUN) == []
    assert claim(ledger) == first
    assert claim(ledger).ordinals == (4, 5, 6, 7)


def test_giving_back_keeps_the_run_incomplete_and_what_was_settled(ledger: Ledger) -> None:
    claim(ledger)
    last = claim(ledger)
    ledger.settle(RUN, last.shard_id, {5: "ok"})
    assert ledger.give_back(RUN, last.shard_id)
    run, counts = ledger.run(RUN), ledger.counts(RUN)
    assert run is not None
    assert counts is not None
    assert not run.is_complete
    assert (counts.ok, counts.in_flight) == (1, 7)
    assert claim(ledger).shard_id == last.shard_id
    assert ledger.missing(RUN, last.shard_id) == (4, 6, 7)


def test_a_shard_with_results_or_one_that_is_not_open_is_not_given_back(ledger: Ledger) -> None:
    shard = claim(ledger)
    ledger.record(RUN, shard.shard_id, 0, b"payload", "ok")
    assert not ledger.give_back(RUN, shard.shard_id)
    assert not ledger.give_back(RUN, "900-904")
    assert [open_shard.shard_id for open_shard in ledger.open_shards(RUN)] == [shard.shard_id]


def test_rows_in_progress_are_those_with_an_attempt_that_has_not_ended(ledger: Ledger) -> None:
    shard = claim(ledger).shard_id
    assert ledger.attempts.in_progress(RUN, shard, ()) == frozenset()
    for ordinal, step in ((0, "download"), (1, "download"), (1, "infer"), (3, "infer")):
        ledger.attempts.begin(RUN, shard, ordinal, step)
    ledger.attempts.end(RUN, shard, 0, "download")
    ledger.attempts.end(RUN, shard, 1, "download")
    assert ledger.attempts.in_progress(RUN, shard, ()) == {1, 3}


def test_a_row_that_only_dead_workers_began_is_not_in_progress(ledger: Ledger) -> None:
    shard = claim(ledger).shard_id
    for ordinal, step, token in (
        (0, "download", "dead.1"),
        (1, "infer", "dead.2"),
        (1, "infer", "living.1"),  # delivered again to a living worker
        (2, "download", "dead.3"),
        (2, "infer", ""),  # of an older tamis, without a worker's name
        (3, "infer", "living.2"),
    ):
        ledger.attempts.begin(RUN, shard, ordinal, step, token)
    ledger.attempts.end(RUN, shard, 3, "infer", "living.2")
    assert ledger.attempts.in_progress(RUN, shard, {"living"}) == {1, 2}
    assert ledger.attempts.in_progress(RUN, shard, {"living", "dead"}) == {0, 1, 2}


def test_a_worker_is_alive_while_its_heartbeat_is_recent(ledger: Ledger) -> None:
    assert ledger.heartbeats.living_workers(30.0) == frozenset()
    for worker in ("one", "other"):
        ledger.heartbeats.beat_worker(worker)
    assert ledger.heartbeats.living_workers(30.0) == {"one", "other"}
    assert ledger.heartbeats.living_workers(0.0) <= {"one", "other"}
    assert ledger.heartbeats.nodes(30.0) == []


def test_the_newest_trouble_is_shown_until_its_step_succeeds(ledger: Ledger) -> None:
    assert ledger.trouble(RUN) is None
    ledger.note_trouble(RUN, "the input is gone", step="feed")
    ledger.note_trouble(RUN, "die Platte ist voll: größer", step="write")
    ledger.note_trouble(RUN, "the input is still gone", step="feed")
    trouble = ledger.trouble(RUN)
    assert trouble is not None
    assert trouble.text in {
        "the input is still gone",
        "die Platte ist voll: größer",
    }  # of one millisecond, perhaps
    ledger.clear_trouble(RUN, step="feed")
    trouble = ledger.trouble(RUN)
    assert trouble is not None
    assert (trouble.step, trouble.text) == ("write", "die Platte ist voll: größer")
    ledger.clear_trouble(RUN, step="write")
    assert ledger.trouble(RUN) is None


def test_a_trouble_is_short_and_goes_with_its_run(ledger: Ledger, client: redis.Redis) -> None:
    ledger.note_trouble(RUN, "x" * 10_000, step="feed")
    trouble = ledger.trouble(RUN)
    assert trouble is not None
    assert len(trouble.text) == TROUBLE_CHARACTERS
    ledger.forget(RUN)
    assert client.dbsize() == 0
    ledger.note_trouble(RUN, "too late", step="feed")
    assert client.dbsize() == 0
