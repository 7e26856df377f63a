"""Pause, resume and cancel over a real ledger and real tables: nothing lost, nothing twice."""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace

import pytest

from storage.ledger import Run, RunOrder
from storage.tables.open import open_output
from tasks import pipeline, submit
from tasks.delivery.attempt import Step, run_step
from tasks.delivery.sweep import Sender, sweep
from tasks.messages import RowMessage, dump_row
from tasks.queues import TaskName
from tasks.resources import runtime
from tasks.resources.runtime import Runtime
from tasks.submit import RunRequest
from tasks.telemetry.event_text import Ended
from tests.unit.tasks.delivery.test_attempt import task_of_a_chain
from tests.unit.tasks.small_run import ROWS, SHARD_ROWS, Published, finish


def written(run: Run) -> list[int]:
    with closing(open_output(run.spec.outputs)) as table:
        table.prepare(run.extra_columns)
        return [row.ordinal for row in table.results(run.run_id)]


def feed(run: Run, rt: Runtime) -> Published:
    published = Published()
    pipeline.feed(run.run_id, rt, published)
    return published


def drop(row: RowMessage, rt: Runtime) -> str:
    """Deliver a row's message to a worker, which must not begin it; return the worker's answer."""
    runtime.set_current(rt)
    try:
        answer = run_step(
            task_of_a_chain(), Step(TaskName.DOWNLOAD, dump_row(row), row), lambda _: pytest.fail("it was begun")
        )
    finally:
        runtime.set_current(None)
    assert isinstance(answer, Ended)
    return answer.how


def finish_and_write(rows: list[RowMessage], run: Run, rt: Runtime) -> None:
    for shard_id in finish(rows, rt):
        assert pipeline.write_shard(run.run_id, shard_id, rt)


def test_rows_dropped_while_the_run_was_paused_are_fed_again_once_it_goes_on(run: Run, rt: Runtime) -> None:
    fed = feed(run, rt)
    finish(fed[:1], rt)
    rt.ledger.orders.pause(run.run_id)
    assert [drop(row, rt) for row in fed[1:]] == ["not begun: its run is paused"] * (len(fed) - 1)
    assert feed(run, rt) == []
    rt.ledger.orders.resume(run.run_id)
    again = feed(run, rt)
    assert sorted(row.ordinal for row in again) == list(range(1, 2 * SHARD_ROWS))
    assert feed(run, rt) == [], "fed once"
    finish_and_write(again, run, rt)
    finish_and_write(feed(run, rt), run, rt)
    assert written(run) == list(range(ROWS))


def test_a_feeder_that_dies_before_all_is_fed_again_leaves_it_to_the_next(run: Run, rt: Runtime) -> None:
    feed(run, rt)
    rt.ledger.orders.pause(run.run_id)
    rt.ledger.orders.resume(run.run_id)

    def die(_: object) -> None:
        raise RuntimeError("killed")

    with pytest.raises(RuntimeError):
        pipeline.feed(run.run_id, rt, die)
    assert len(feed(run, rt)) == 2 * SHARD_ROWS


def test_the_sweep_leaves_paused_and_cancelled_runs_alone(run: Run, rt: Runtime) -> None:
    feed(run, rt)
    rt.settings = replace(rt.settings, delivery=replace(rt.settings.delivery, stale_shard_seconds=-1.0))
    for order in (rt.ledger.orders.pause, rt.ledger.orders.cancel):
        order(run.run_id)
        stale = Sender(lambda _: pytest.fail("fed"), lambda *_: pytest.fail("written"))
        sweep(rt, stale, lambda: True)


def test_a_cancelled_run_writes_what_was_judged_and_a_new_submission_judges_the_others(
    run: Run, rt: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    fed = feed(run, rt)
    finish_and_write(fed[:SHARD_ROWS], run, rt)
    finish(fed[SHARD_ROWS : SHARD_ROWS + 2], rt)
    rt.ledger.orders.cancel(run.run_id)
    (shard_id,) = pipeline.shards_to_cut(run.run_id, rt)
    assert pipeline.write_shard(run.run_id, shard_id, rt)
    assert not pipeline.write_shard(run.run_id, shard_id, rt), "a second delivery"
    assert written(run) == list(range(SHARD_ROWS + 2))

    monkeypatch.setattr(submit, "wake_feeder", lambda _: None)
    request = RunRequest(run.spec, ROWS, run.extra_columns)
    again = submit.submit(request, SHARD_ROWS, rt.ledger).run
    assert (again.run_id, again.order) == (run.run_id, RunOrder.NONE)
    rest = feed(run, rt)
    assert sorted(row.ordinal for row in rest) == list(range(SHARD_ROWS + 2, ROWS))
    finish_and_write(rest, run, rt)
    assert written(run) == list(range(ROWS))
    counts = rt.ledger.counts(run.run_id)
    assert counts is not None
    assert (counts.failed, counts.in_flight) == (ROWS, 0)


def test_a_shard_of_a_cancelled_run_waits_for_the_row_that_a_living_worker_has_in_hand(run: Run, rt: Runtime) -> None:
    row = feed(run, rt)[0]
    rt.ledger.heartbeats.beat_worker("w1")
    rt.ledger.attempts.begin(run.run_id, row.shard_id, row.ordinal, "infer", "w1.a")
    rt.ledger.orders.cancel(run.run_id)
    assert row.shard_id not in pipeline.shards_to_cut(run.run_id, rt)
    finish([row], rt)
    rt.ledger.attempts.end(run.run_id, row.shard_id, row.ordinal, "infer", "w1.a")
    assert row.shard_id in pipeline.shards_to_cut(run.run_id, rt)
    assert pipeline.write_shard(run.run_id, row.shard_id, rt)
    assert written(run) == [row.ordinal]


def test_a_result_that_comes_between_write_and_cut_is_written_by_the_next_delivery(
    run: Run, rt: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    fed = feed(run, rt)
    finish(fed[:1], rt)
    rt.ledger.orders.cancel(run.run_id)
    cut = rt.ledger.orders.cut_shard
    late = iter([lambda: finish(fed[1:2], rt)])

    def cut_after_a_late_result(*arguments: object) -> bool:
        next(late, lambda: None)()
        return cut(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(rt.ledger.orders, "cut_shard", cut_after_a_late_result)
    assert not pipeline.write_shard(run.run_id, fed[0].shard_id, rt)
    assert pipeline.write_shard(run.run_id, fed[0].shard_id, rt)
    assert written(run) == [0, 1]
