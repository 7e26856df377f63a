"""One attempt at one step of one row: the edge where errors become retries or results."""

from __future__ import annotations

import logging
import secrets
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, TypeVar

from celery import Task
from celery.exceptions import Reject

from storage.errors import Unavailable
from storage.records import ResultRow
from tasks import pipeline
from tasks.celery import app
from tasks.delivery.alone import Floor
from tasks.delivery.decisions import AttemptsExhausted, Backoff, Record, decide, is_bug
from tasks.delivery.deferral import later
from tasks.messages import RowMessage, for_any_node
from tasks.queues import TaskName
from tasks.resources import runtime
from tasks.resources.runtime import Runtime
from tasks.telemetry import tracing
from tasks.telemetry.event_text import MOST_CHARACTERS, Ended, verdict
from tasks.telemetry.logs import about
from tasks.telemetry.metrics.instruments import ATTEMPTS

log = logging.getLogger(__name__)

T = TypeVar("T")

SUSPECT_AFTER = 2
"""Attempts at a step that began and never ended, before the row is thought to kill its process and is tried alone.

One is no suspicion: a killed process takes all its rows with it. A row that dies again alone is a culprit.
"""

FLOOR = Floor()  # this process's


@dataclass(frozen=True, slots=True)
class Step:
    """One step of one row: which task with which message, and under which name its attempts are counted."""

    task: TaskName
    message: dict[str, Any]
    row: RowMessage

    @property
    def name(self) -> str:
        """The stage in ``result_info.error``: ``download`` or ``infer``."""
        return self.task.value.removeprefix("tasks.")

    def __str__(self) -> str:
        return f"{self.name} of row {self.row.ordinal} of run {self.row.run_id}"


def run_step(task: Task[..., Any], step: Step, work: Callable[[int], T]) -> T | Ended:
    """Run ``work(attempt)`` for the row, unless the row has its result already.

    Returns the work's value, or how it ended when this message has nothing more to do: the row has its result, or the
    step will be tried again by another message. The chain then stops here.
    """
    try:
        tracing.describe(run=step.row.run_id, ordinal=step.row.ordinal)
        with about(run=step.row.run_id, ordinal=step.row.ordinal, step=step.name):
            answer = _unless_recorded(step, runtime.current(), work)
    except Unavailable as error:  # the ledger's: every other one was settled
        msg = f"{step} goes back to its queue: {error}"
        raise Reject(msg, requeue=True) from error
    if isinstance(answer, Ended):
        task.request.chain = None
    return answer


def _unless_recorded(step: Step, rt: Runtime, work: Callable[[int], T]) -> T | Ended:
    row = step.row
    if not rt.ledger.is_recorded(row.run_id, row.shard_id, row.ordinal):
        with _floor(step, rt):
            return _attempt(step, rt, work)
    # Whoever recorded it may have died before it did what comes after.
    pipeline.release(row, rt)
    if rt.ledger.is_full(row.run_id, row.shard_id):
        app.send_task(TaskName.WRITE_SHARD, (row.run_id, row.shard_id))
    return Ended("had its result already")


def record(row: RowMessage, result: ResultRow, rt: Runtime) -> None:
    """Record the row's result; whoever fills a shard has it written."""
    tracing.describe(outcome=result.outcome, **result.result_info.get("stages", {}))
    if pipeline.record(row, result, rt):
        app.send_task(TaskName.WRITE_SHARD, (row.run_id, row.shard_id))


def _floor(step: Step, rt: Runtime) -> AbstractContextManager[None]:
    """Beside the process's other tasks; alone for a row under which processes died, lest neighbours die with it."""
    row = step.row
    unended = rt.ledger.unended_attempts(row.run_id, row.shard_id, row.ordinal, step.name)
    if unended < SUSPECT_AFTER:
        return FLOOR.together()
    log.warning("%s: %d attempts never ended; trying it alone", step, unended)
    return FLOOR.alone()


def _attempt(step: Step, rt: Runtime, work: Callable[[int], T]) -> T | Ended:
    row = step.row
    token = f"{rt.worker}.{secrets.token_hex(4)}"
    attempt = rt.ledger.begin_attempt(row.run_id, row.shard_id, row.ordinal, step.name, token)
    answer: T | Ended
    try:
        if attempt.unended_before >= rt.settings.max_attempts:
            msg = f"{step.name} was begun {attempt.unended_before} times and never ended: its process died each time"
            raise AttemptsExhausted(msg)
        video = str(row.record.get("video_id"))
        tracing.describe(attempt=attempt.number, video=video)
        with about(attempt=attempt.number, video=video):
            answer = work(attempt.number)
        ATTEMPTS.labels(step.name, "done").inc()
    except Exception as error:  # noqa: BLE001 -- the task's edge: decide() sorts every error, none is swallowed
        answer = _settle(step, attempt.number, error, rt)
    rt.ledger.end_attempt(row.run_id, row.shard_id, row.ordinal, step.name, token)
    return answer


def _settle(step: Step, attempt: int, error: Exception, rt: Runtime) -> Ended:
    """Record the row as failed, or have the step tried again later."""
    settings, row = rt.settings, step.row
    backoff = Backoff(settings.retry_backoff_seconds, settings.retry_backoff_max_seconds)
    if is_bug(error):
        log.error("%s: unexpected error", step, exc_info=error)
    decision = decide(error, stage=step.name, attempt=attempt, max_attempts=settings.max_attempts, backoff=backoff)
    pipeline.release(row, rt)
    ATTEMPTS.labels(step.name, "failed" if isinstance(decision, Record) else "again").inc()
    if isinstance(decision, Record):
        result = pipeline.failed(row, decision.failure, rt)
        record(row, result, rt)
        return Ended(verdict(result))
    if not decision.counts_as_attempt:
        rt.ledger.forget_attempts(row.run_id, row.shard_id, row.ordinal)
    # Not back to this node: it may be gone by then, its device sick, or its manifest another one.
    later(rt.deferred, step.task, (for_any_node(step.message),), decision.wait_seconds)
    log.warning("%s: %s; again in %.1f s", step, error, decision.wait_seconds)
    return Ended(f"again in {decision.wait_seconds:.1f} s: {error}"[:MOST_CHARACTERS])
