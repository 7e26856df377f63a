"""Attempts whose errors become retries or results, with a real ledger and without a broker."""

from __future__ import annotations

import dataclasses
import json
import re
import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import redis
from celery.exceptions import Reject
from redis.backoff import NoBackoff
from redis.retry import Retry

from inference.errors import BadVideo, DeviceLost, VideoFault
from storage.errors import ObjectMissing, SpoolFull, TierOpen, Unavailable
from storage.ledger import Deferred, Ledger, RunSpec, WorkerReports
from storage.records import Failure, ResultRow
from storage.spool import Spool
from tasks import pipeline
from tasks.celery import app
from tasks.delivery.attempt import SUSPECT_AFTER, Step, run_step
from tasks.messages import RowMessage, dump_row
from tasks.queues import TaskName
from tasks.resources import runtime
from tasks.resources.runtime import Runtime
from tasks.settings import Settings
from tasks.telemetry.event_text import Ended
from tests.valkey import valkey_server

SPEC = RunSpec(tables="in", outputs="out", filters=(), manifest="m", manifest_digest="d")
RECORD = {"video_id": "v", "oss_bucket": "bucket", "video_path": "a.mp4", "video_tag": "", "info": ""}


@pytest.fixture
def rt(client: redis.Redis, tmp_path: Path) -> Iterator[Runtime]:
    opened = Runtime(
        settings=Settings.of(state_dir=tmp_path, max_attempts=3, retry_backoff_seconds=0.01),
        ledger=Ledger(client),
        deferred=Deferred(client),
        spool=Spool(tmp_path / "spool", limit_bytes=1000),
    )
    opened.ledger.submit(SPEC, total_rows=2, shard_rows=2, extra_columns=())
    runtime.set_current(opened)
    yield opened
    runtime.set_current(None)
    opened.close()


@pytest.fixture
def row(rt: Runtime) -> RowMessage:
    """A row of a shard of two: the shard does not become full, so nothing is written."""
    shard = rt.ledger.claim_shard(SPEC.run_id, max_open=1)
    assert shard is not None
    return RowMessage(run_id=SPEC.run_id, shard_id=shard.shard_id, ordinal=0, record=RECORD)


def task_of_a_chain() -> Any:
    return SimpleNamespace(app=app, request=SimpleNamespace(chain=["the next step"]))


def attempt(row: RowMessage, error: Exception | None = None, task: Any = None) -> Any:
    def work(number: int) -> int:
        if error is not None:
            raise error
        return number

    answer = run_step(task or task_of_a_chain(), Step(TaskName.DOWNLOAD, dump_row(row), row), work)
    return None if isinstance(answer, Ended) else answer


def outcome(row: RowMessage, rt: Runtime) -> str | None:
    counts = rt.ledger.counts(row.run_id)
    assert counts is not None
    assert counts.rows == counts.ok + counts.failed + counts.in_flight
    return next(iter(counts.failures), "ok" if counts.ok else None)


def test_successful_work_returns_its_value_and_its_chain_goes_on(row: RowMessage, rt: Runtime) -> None:
    task = task_of_a_chain()
    assert attempt(row, task=task) == 1
    assert task.request.chain == ["the next step"]
    assert outcome(row, rt) is None


def result_of(row: RowMessage, rt: Runtime) -> ResultRow:
    return pipeline.failed(row, Failure(code="made_up", stage="infer", message="", attempts=1), rt)


def test_a_result_that_work_returns_is_recorded_and_ends_the_attempt(row: RowMessage, rt: Runtime) -> None:
    answer = run_step(task_of_a_chain(), Step(TaskName.INFER, dump_row(row), row), lambda _: result_of(row, rt))
    assert answer == Ended("failed: made_up")
    assert outcome(row, rt) == "made_up"
    assert not rt.ledger.attempts.in_progress(row.run_id, row.shard_id, {rt.worker})


def test_a_row_costs_two_calls_of_the_ledger_a_step_and_no_transaction(
    row: RowMessage, rt: Runtime, client: redis.Redis
) -> None:
    attempt(row)  # loads the scripts
    rt.ledger.record(row.run_id, "unknown", 0, b"", "ok")
    client.config_resetstat()
    attempt(row)
    run_step(task_of_a_chain(), Step(TaskName.INFER, dump_row(row), row), lambda _: result_of(row, rt))
    told = client.info("commandstats")
    assert told["cmdstat_evalsha"]["calls"] == 4
    assert "cmdstat_exec" not in told


@pytest.mark.parametrize("error", [ObjectMissing("gone"), BadVideo(VideoFault.NOT_A_VIDEO, "text")])
def test_a_permanent_error_is_the_rows_result_and_ends_its_chain(error: Any, row: RowMessage, rt: Runtime) -> None:
    task = task_of_a_chain()
    assert attempt(row, error, task) is None
    assert task.request.chain is None
    assert outcome(row, rt) == error.code
    assert len(rt.deferred) == 0


def test_a_row_with_a_result_is_not_attempted_again(row: RowMessage, rt: Runtime) -> None:
    attempt(row, ObjectMissing("gone"))
    task = task_of_a_chain()
    assert attempt(row, AssertionError("must not run"), task) is None
    assert task.request.chain is None
    assert outcome(row, rt) == "object_missing"


@pytest.mark.parametrize(
    ("error", "code"),
    [(Unavailable("503"), "store_unavailable"), (DeviceLost("x"), "device_lost"), (KeyError("bug"), "internal_error")],
)
def test_a_transient_error_waits_in_redis_until_its_attempts_are_used_up(
    error: Exception, code: str, row: RowMessage, rt: Runtime
) -> None:
    for number in (1, 2):
        task = task_of_a_chain()
        assert attempt(row, error, task) is None
        assert task.request.chain is None
        assert len(rt.deferred) == 1, f"attempt {number}"
        assert outcome(row, rt) is None
    attempt(row, error)
    assert outcome(row, rt) == code


def test_the_deferred_message_is_the_original_one(row: RowMessage, client: redis.Redis) -> None:
    attempt(row, Unavailable("503"))
    (waiting,) = client.zrange("tamis:deferred", 0, -1)
    assert json.loads(waiting) == ["tasks.download", [dump_row(row)]]


def test_a_full_spool_defers_the_step_without_limit(row: RowMessage, rt: Runtime) -> None:
    for _ in range(3 * rt.settings.delivery.max_attempts):
        attempt(row, SpoolFull("full"))
    assert outcome(row, rt) is None
    assert len(rt.deferred) == 1


def begin_without_end(row: RowMessage, rt: Runtime, times: int) -> None:
    """Begin attempts that never end, as when the process is killed."""
    for _ in range(times):
        rt.ledger.attempts.begin(row.run_id, row.shard_id, row.ordinal, "download")


def test_a_row_whose_processes_died_runs_alone_and_may_still_succeed(row: RowMessage, rt: Runtime) -> None:
    begin_without_end(row, rt, SUSPECT_AFTER)
    inside, neighbour_may_go, order = threading.Event(), threading.Event(), []
    neighbour = RowMessage(run_id=row.run_id, shard_id=row.shard_id, ordinal=1, record=RECORD)

    def neighbours_work(_number: int) -> int:
        inside.set()
        neighbour_may_go.wait(10)
        order.append("neighbour")
        return 1

    def suspects_work(number: int) -> int:
        order.append("suspect")
        return number

    step = Step(TaskName.DOWNLOAD, dump_row(neighbour), neighbour)
    beside = threading.Thread(target=run_step, args=(task_of_a_chain(), step, neighbours_work))
    beside.start()
    assert inside.wait(10)
    answers: list[Any] = []
    step = Step(TaskName.DOWNLOAD, dump_row(row), row)
    alone = threading.Thread(target=lambda: answers.append(run_step(task_of_a_chain(), step, suspects_work)))
    alone.start()
    alone.join(0.3)
    assert alone.is_alive()  # it waits for its neighbour
    neighbour_may_go.set()
    alone.join(10)
    beside.join(10)
    assert order == ["neighbour", "suspect"]
    assert answers == [SUSPECT_AFTER + 1]


def test_a_row_that_kills_every_process_is_recorded_as_failed_with_a_reason(row: RowMessage, rt: Runtime) -> None:
    begin_without_end(row, rt, rt.settings.delivery.max_attempts)
    assert attempt(row) is None
    assert outcome(row, rt) == "attempts_exhausted"
    rt.ledger.record(row.run_id, row.shard_id, 1, b"the neighbour's", "ok")  # results are read from a full shard
    results = rt.ledger.results(row.run_id, row.shard_id)
    assert results is not None
    error = ResultRow.from_bytes(results[0]).result_info["error"]
    assert (error["code"], error["stage"]) == ("attempts_exhausted", "download")


def test_an_unfinished_attempt_and_an_unreachable_store_do_not_use_up_three_attempts(
    row: RowMessage, rt: Runtime
) -> None:
    begin_without_end(row, rt, 1)
    attempt(row, Unavailable("503"))
    assert outcome(row, rt) is None


def test_without_the_ledger_a_message_returns_to_its_queue(row: RowMessage, rt: Runtime) -> None:
    with valkey_server() as short_lived:
        away = redis.Redis.from_url(short_lived.url, retry=Retry(NoBackoff(), 0))
        short_lived.kill()
        runtime.set_current(dataclasses.replace(rt, ledger=Ledger(away)))
        with pytest.raises(Reject) as raised:
            attempt(row)
        assert raised.value.requeue


# ── leases on the spool ──────────────────────────────────────────────────────────────────────────────────────────────


def lease(row: RowMessage, rt: Runtime) -> None:
    rt.spool.add("ab" * 32, 5, row.holder, lambda into: into.write(b"video"))


def record_elsewhere(row: RowMessage, rt: Runtime) -> None:
    rt.ledger.record(row.run_id, row.shard_id, row.ordinal, b"result", "ok")


def test_a_second_message_of_a_recorded_row_leaves_no_lease(row: RowMessage, rt: Runtime) -> None:
    lease(row, rt)
    record_elsewhere(row, rt)
    assert attempt(row) is None
    assert rt.spool.usage().leases == 0


def test_the_lease_of_a_killed_process_ends_when_its_row_is_recorded_elsewhere(row: RowMessage, rt: Runtime) -> None:
    lease(row, rt)
    runtime.reclaim_or_log(rt)
    assert rt.spool.usage().leases == 1  # its message will be delivered again
    record_elsewhere(row, rt)
    runtime.reclaim_or_log(rt)
    assert rt.spool.usage().leases == 0


def test_leases_of_a_run_that_the_ledger_forgot_are_ended(row: RowMessage, rt: Runtime) -> None:
    lease(row, rt)
    rt.ledger.forget(row.run_id)
    runtime.reclaim_or_log(rt)
    assert rt.spool.usage().leases == 0


def test_a_full_disk_costs_no_attempt(row: RowMessage, rt: Runtime) -> None:
    lease(row, rt)
    rt.spool._index._connection.execute("PRAGMA query_only = ON")  # the lease cannot be ended: nothing can be written
    for _ in range(5):
        assert attempt(row, SpoolFull("no space left on device")) is None
    assert outcome(row, rt) is None
    assert len(rt.deferred) == 1


@pytest.mark.parametrize(
    ("error", "how"),
    [(ObjectMissing("gone"), "failed: object_missing"), (Unavailable("503"), r"again in \d+\.\d s: 503")],
)
def test_a_step_without_a_value_returns_a_text_about_its_end(
    error: Exception, how: str, row: RowMessage, rt: Runtime
) -> None:
    def fail(_number: int) -> None:
        raise error

    answer = run_step(task_of_a_chain(), Step(TaskName.DOWNLOAD, dump_row(row), row), fail)
    assert isinstance(answer, Ended)
    assert re.fullmatch(how, answer.how)


def test_a_worker_that_tries_rows_again_reports_the_cause_and_not_the_pause_of_its_tier(
    row: RowMessage, rt: Runtime, client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runtime, "REPORT_SECONDS", 0.0)
    rt.name, rt.reports = "io@n1", WorkerReports(client)
    attempt(row, Unavailable("/nope is not mounted"))
    attempt(row, TierOpen("oss failed too often in a row", wait_seconds=3.0))
    (report,) = rt.reports.all()
    assert (report.name, report.state, report.reason) == ("io@n1", "failing", "download: /nope is not mounted")
