"""One attempt at one step of one row: the edge where errors become retries or results."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, TypeVar

from celery import Task

from storage.records import ResultRow
from tasks import pipeline, runtime
from tasks.errors import AttemptsExhausted, Backoff, Record, decide, is_bug
from tasks.messages import RowMessage
from tasks.queues import TaskName

log = logging.getLogger(__name__)

T = TypeVar("T")


def run_step(task: Task[..., Any], row: RowMessage, step: str, work: Callable[[int], T]) -> T | None:
    """Run ``work(attempt)`` for the row, unless the row has its result already.

    Returns the work's value, or None when the row has ended here (recorded, now or before): the chain then stops.
    Raises Celery's ``Retry`` when the step is to be tried again.
    """
    rt = runtime.current()
    if rt.ledger.is_recorded(row.run_id, row.shard_id, row.ordinal):
        stop_chain(task)
        return None
    attempt = rt.ledger.begin_attempt(row.run_id, row.shard_id, row.ordinal, step)
    try:
        _guard(step, attempt, rt.settings.max_attempts)
        return work(attempt)
    except Exception as error:  # noqa: BLE001 -- the task's edge: decide() sorts every error, none is swallowed
        _settle(task, row, step, attempt, error, rt)
        return None


def record(row: RowMessage, result: ResultRow, rt: runtime.Runtime) -> None:
    """Record the row's result; whoever fills a shard has it written."""
    if pipeline.record(row, result, rt):
        from tasks.app import app

        app.send_task(TaskName.WRITE_SHARD, (row.run_id, row.shard_id))


def _guard(step: str, attempt: int, max_attempts: int) -> None:
    if attempt > max_attempts:
        msg = f"{step} was begun {attempt - 1} times and never ended: its worker process died each time"
        raise AttemptsExhausted(msg)


def _settle(
    task: Task[..., Any], row: RowMessage, step: str, attempt: int, error: Exception, rt: runtime.Runtime
) -> None:
    settings = rt.settings
    backoff = Backoff(settings.retry_backoff_seconds, settings.retry_backoff_max_seconds)
    if is_bug(error):
        log.error("%s of row %s of run %s: unexpected error", step, row.ordinal, row.run_id, exc_info=error)
    decision = decide(error, stage=step, attempt=attempt, max_attempts=settings.max_attempts, backoff=backoff)
    if isinstance(decision, Record):
        record(row, pipeline.failed(row, decision.failure, rt), rt)
        rt.spool.release_all(row.holder)
        stop_chain(task)
        return
    if not decision.counts_as_attempt:
        rt.ledger.forget_attempts(row.run_id, row.shard_id, row.ordinal)
    log.warning(
        "%s of row %s of run %s: %s; again in %.1f s", step, row.ordinal, row.run_id, error, decision.wait_seconds
    )
    raise task.retry(countdown=decision.wait_seconds)


def stop_chain(task: Task[..., Any]) -> None:
    """End the row's chain here: the next step has nothing to do."""
    task.request.chain = None
