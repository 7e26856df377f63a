"""Orders to a run in a real ledger: pause, go on, cancel."""

from __future__ import annotations

import redis

from storage.ledger import Ledger, RunOrder
from tests.unit.storage.ledger.ledger_steps import RUN, claim, counts, record_all, submit


def test_a_paused_run_gives_no_shard_until_it_goes_on(ledger: Ledger) -> None:
    submit(ledger, 8)
    claim(ledger)
    assert ledger.orders.pause(RUN) is RunOrder.PAUSED
    assert ledger.claim_shard(RUN, max_open=9) is None
    assert ledger.orders.resume(RUN) is RunOrder.NONE
    assert claim(ledger).ordinals == (4, 5, 6, 7)


def test_a_pause_is_kept_by_the_server_and_by_a_second_submission(ledger: Ledger, client: redis.Redis) -> None:
    submit(ledger, 8)
    ledger.orders.pause(RUN)
    submit(ledger, 8)
    other = Ledger(client)
    assert other.orders.of(RUN) is RunOrder.PAUSED
    assert [run.state for run in other.runs()] == ["paused"]


def test_a_paused_run_still_records_and_closes_shards(ledger: Ledger) -> None:
    submit(ledger, 4)
    shard = claim(ledger)
    ledger.orders.pause(RUN)
    record_all(ledger, shard)
    assert ledger.close_shard(RUN, shard.shard_id)
    assert [run.state for run in ledger.runs()] == ["complete"]


def test_a_resumption_is_unfed_until_its_number_is_noted(ledger: Ledger) -> None:
    submit(ledger, 4)
    assert ledger.orders.unfed_resumption(RUN) == 0
    for expected in (1, 2):
        ledger.orders.pause(RUN)
        ledger.orders.resume(RUN)
        assert ledger.orders.unfed_resumption(RUN) == expected
    ledger.orders.note_fed_again(RUN, 1)
    assert ledger.orders.unfed_resumption(RUN) == 2
    ledger.orders.note_fed_again(RUN, 2)
    ledger.orders.note_fed_again(RUN, 1)  # a slower feeder
    assert ledger.orders.unfed_resumption(RUN) == 0


def test_a_cancellation_stands_whatever_is_ordered_after_it(ledger: Ledger) -> None:
    submit(ledger, 4)
    ledger.orders.cancel(RUN)
    assert ledger.orders.pause(RUN) is ledger.orders.resume(RUN) is RunOrder.CANCELLED


def test_a_cut_shard_is_closed_and_its_other_rows_stay_without_a_result(ledger: Ledger) -> None:
    submit(ledger, 4)
    shard = claim(ledger)
    ledger.record(RUN, shard.shard_id, 0, b"payload", "ok")
    ledger.record(RUN, shard.shard_id, 1, b"payload", "not_a_video")
    assert not ledger.orders.cut_shard(RUN, shard.shard_id, 2), "the run is not cancelled"
    ledger.orders.cancel(RUN)
    assert not ledger.orders.cut_shard(RUN, shard.shard_id, 1), "a result came after the write"
    assert ledger.orders.cut_shard(RUN, shard.shard_id, 2)
    assert not ledger.orders.cut_shard(RUN, shard.shard_id, 2)
    assert (counts(ledger).ok, counts(ledger).failed, counts(ledger).in_flight) == (1, 1, 2)
    assert not ledger.record(RUN, shard.shard_id, 2, b"payload", "ok").is_first, "a row that ends late"
    assert [run.state for run in ledger.runs()] == ["cancelled"], "every row was fed, and no shard is open"


def test_a_run_that_is_cancelled_when_every_row_has_its_result_is_complete(ledger: Ledger) -> None:
    submit(ledger, 4)
    shard = claim(ledger)
    record_all(ledger, shard)
    ledger.orders.cancel(RUN)
    assert ledger.close_shard(RUN, shard.shard_id)
    assert [run.state for run in ledger.runs()] == ["complete"]


def test_orders_to_an_unknown_run_have_no_effect(ledger: Ledger) -> None:
    assert ledger.orders.pause("0" * 16) is RunOrder.NONE
    ledger.orders.note_fed_again("0" * 16, 1)
    assert not ledger.orders.cut_shard("0" * 16, "0-4", 0)
    assert ledger.runs() == []
