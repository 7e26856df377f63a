"""Figures of a run in a real ledger."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
import redis

from storage.ledger import Figures, Ledger, StageTime, increments
from storage.ledger.figures import POINTS
from storage.records import Execution, Failure, ResultRow
from tests.unit.storage.ledger.ledger_steps import RUN, claim, submit

RECORD = {"video_id": "v", "oss_bucket": "b", "video_path": "p", "video_tag": "", "info": ""}
NOW = datetime(2025, 1, 15, tzinfo=UTC)


def judged(ordinal: int, run_id: str = RUN, decode: float = 300.0) -> ResultRow:
    execution = Execution(
        start_time=NOW,
        end_time=NOW,
        avg_cost_seconds=1.0,
        stages_milliseconds={"download": 20.0, "queue": 900.0, "decode": decode, "score": 100.0},
        tier="cpfs",
        models={"vfx": "d1"},
        is_untrained=True,
        decision={"keep": "drop", "reasons": ["vfx_filter"], "decided_by": "t1"},
    )
    return ResultRow.succeeded(RECORD, run_id=run_id, ordinal=ordinal, verdict_info={}, execution=execution)


def failed(ordinal: int) -> ResultRow:
    failure = Failure(code="not_a_video", stage="infer", message="m", attempts=1)
    execution = Execution(start_time=NOW, end_time=NOW, avg_cost_seconds=0.0)
    return ResultRow.failed(RECORD, run_id=RUN, ordinal=ordinal, failure=failure, execution=execution)


def record(ledger: Ledger, row: ResultRow, shard_id: str) -> None:
    ledger.record(RUN, shard_id, row.ordinal, b"payload", row.outcome, figures=increments(row))


def test_rows_are_summed_by_stage_model_and_decision_and_failures_have_no_time(ledger: Ledger) -> None:
    submit(ledger, 4)
    shard = claim(ledger)
    for row in (judged(0), judged(1, decode=3100.0), failed(2)):
        record(ledger, row, shard.shard_id)
    figures = ledger.figures.of(RUN)
    assert figures.stages["decode"] == StageTime(2, 3400)
    assert figures.models == {"vfx": {"d1": 2}}
    assert figures.tiers == {"cpfs": 2}
    assert (figures.decided_by, figures.keeps, figures.untrained) == ({"t1": 2}, {"drop": 2}, 2)
    assert sorted(figures.row_seconds) == pytest.approx([0.4, 3.2], rel=0.1), "without download and waiting"
    assert [point.done for point in figures.points] == [1, 2, 3]


def test_the_points_of_progress_are_few_however_many_rows_there_are(ledger: Ledger) -> None:
    submit(ledger, 4 * POINTS, shard_rows=4 * POINTS)
    shard = claim(ledger)
    for ordinal in shard.ordinals:
        record(ledger, judged(ordinal), shard.shard_id)
    done = [point.done for point in ledger.figures.of(RUN).points]
    assert done == [1, *range(4, 4 * POINTS + 1, 4)]


def test_figures_of_an_unknown_run_are_empty_and_nothing_is_kept_of_it(ledger: Ledger, client: redis.Redis) -> None:
    record(ledger, judged(0), "0-4")
    assert ledger.figures.of(RUN) == Figures()
    assert not client.keys("*")


def test_a_forgotten_run_leaves_no_figures(ledger: Ledger, client: redis.Redis) -> None:
    submit(ledger, 4)
    record(ledger, judged(0), claim(ledger).shard_id)
    ledger.forget(RUN)
    assert not client.keys("tamis:run:*")


def test_a_row_that_is_recorded_twice_counts_once(ledger: Ledger) -> None:
    submit(ledger, 4)
    shard = claim(ledger)
    for _ in range(2):
        record(ledger, judged(0), shard.shard_id)
    assert ledger.figures.of(RUN).stages["decode"].rows == 1
