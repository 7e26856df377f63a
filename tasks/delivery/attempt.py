"""Attempts at the steps of a row: errors become retries or results here."""

from __future__ import annotations

import logging
import secrets
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

from celery import Celery, Task
from celery.exceptions import Reject

from storage.backoff import Backoff
from storage.errors import TierOpen, Unavailable
from storage.ledger import NotBegun
from storage.records import ResultRow
from tasks import pipeline
from tasks.delivery.decisions import AttemptsExhausted, Record, decide, is_bug
from tasks.delivery.deferral import defer
from tasks.messages import RowMessage, for_any_node
from tasks.queues import TaskName
from tasks.resources import runtime
from tasks.resources.runtime import Runtime
from tasks.telemetry import tracing
from tasks.telemetry.event_text import MOST_CHARACTERS, Ended, verdict
from tasks.telemetry.logs import about
from tasks.telemetry.metrics.instruments import ATTEMPTS
from tasks.telemetry.printable import printable

log = logging.getLogger(__name__)

T = TypeVar("T")

SUSPECT_AFTER = 2
"""Unfinished attempts at a step after which the row is suspected of killing its process, and runs alone.

One unfinished attempt proves nothing: a killed process leaves all its rows unfinished. When the process dies again
while the row runs alone, the row is the cause.
"""


class SharedExclusiveLock:
    """A shared/exclusive lock; exclusive requests go first."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._shared_holders = 0
        self._is_exclusive = False
        self._exclusive_requests = 0

    @contextmanager
    def shared(self) -> Iterator[None]:
        """Hold the lock together with other shared holders; wait while it is held or requested exclusively."""
        with self._changed:
            self._changed.wait_for(lambda: not self._is_exclusive and not self._exclusive_requests)
            self._shared_holders += 1
        try:
            yield
        finally:
            with self._changed:
                self._shared_holders -= 1
                self._changed.notify_all()

    @contextmanager
    def exclusive(self) -> Iterator[None]:
        """Hold the lock alone; wait until every other holder has released it."""
        with self._changed:
            self._exclusive_requests += 1
            self._changed.wait_for(lambda: not self._is_exclusive and not self._shared_holders)
            self._exclusive_requests -= 1
            self._is_exclusive = True
        try:
            yield
        finally:
            with self._changed:
                self._is_exclusive = False
                self._changed.notify_all()


STEPS_LOCK = SharedExclusiveLock()  # of this process: steps share it, the step of a suspected row holds it alone


@dataclass(frozen=True, slots=True)
class Step:
    """A step of a row: its task, its message, and the name under which its attempts are counted."""

    task: TaskName
    message: dict[str, Any]
    row: RowMessage

    @property
    def name(self) -> str:
        """The step's name in ``result_info.error``: ``download`` or ``infer``."""
        return self.task.value.removeprefix("tasks.")

    @property
    def video(self) -> str:
        """The row's ``video_id``."""
        return str(self.row.record.get("video_id"))

    def __str__(self) -> str:
        return f"{self.name} of row {self.row.ordinal} of run {self.row.run_id}"


def run_step(task: Task[..., Any], step: Step, work: Callable[[int], T | ResultRow]) -> T | Ended:
    """Run ``work(attempt)`` for the row, unless the row already has its result; record a result that it returns.

    Return another value of ``work``, or an :class:`Ended` when this message is finished: the row has its result, or
    another message will try the step again. In that case the chain stops here.
    """
    try:
        tracing.describe(run=step.row.run_id, ordinal=step.row.ordinal)
        with about(run=step.row.run_id, ordinal=step.row.ordinal, step=step.name, video=step.video):
            answer = _attempt_in_turn(task.app, step, runtime.current(), work)
    except Unavailable as error:  # of the ledger: every other error has been decided
        msg = f"{step} goes back to its queue: {error}"
        raise Reject(msg, requeue=True) from error
    if isinstance(answer, Ended):
        task.request.chain = None
    return answer


def _attempt_in_turn(app: Celery, step: Step, rt: Runtime, work: Callable[[int], T | ResultRow]) -> T | Ended:
    """Run the step beside other rows' steps; alone if the row's processes died."""
    with STEPS_LOCK.shared():
        answer = _attempt(app, step, rt, work, most_unended=SUSPECT_AFTER - 1)
    if not isinstance(answer, _Suspected):
        return answer
    log.warning("%s: %d attempts began and never ended; running it alone", step, answer.unended)
    with STEPS_LOCK.exclusive():
        answer = _attempt(app, step, rt, work)
    assert not isinstance(answer, _Suspected)  # noqa: S101 -- any number may be without an end
    return answer


@dataclass(frozen=True, slots=True)
class _Suspected:
    unended: int


def _attempt(
    app: Celery, step: Step, rt: Runtime, work: Callable[[int], T | ResultRow], *, most_unended: int = -1
) -> T | Ended | _Suspected:
    row, token = step.row, f"{rt.worker}.{secrets.token_hex(4)}"
    attempt = rt.ledger.attempts.begin(
        row.run_id, row.shard_id, row.ordinal, step.name, token, most_unended=most_unended
    )
    if attempt.not_begun is NotBegun.SUSPECTED:
        return _Suspected(attempt.unended_before)
    if attempt.not_begun:
        return _not_begun(app, row, rt, attempt.not_begun)
    try:
        if attempt.unended_before >= rt.settings.delivery.max_attempts:
            msg = f"{step.name} was begun {attempt.unended_before} times and never ended: its process died each time"
            raise AttemptsExhausted(msg)
        tracing.describe(attempt=attempt.number, video=step.video)
        with about(attempt=attempt.number):
            answer = _concluded(app, step, token, work(attempt.number), rt)
        ATTEMPTS.labels(step.name, "done").inc()
    except Exception as error:  # noqa: BLE001 -- the task's edge: decide() handles every error
        return _concluded(app, step, token, _decided(step, attempt.number, error, rt), rt)
    return answer


def _not_begun(app: Celery, row: RowMessage, rt: Runtime, why: NotBegun) -> Ended:
    pipeline.release(row, rt)  # the worker that recorded it may have died before that, or before queueing the shard
    if why is not NotBegun.RECORDED:
        return Ended(f"not begun: its run is {why}")
    if rt.ledger.is_full(row.run_id, row.shard_id):
        app.send_task(TaskName.WRITE_SHARD, (row.run_id, row.shard_id))
    return Ended("had its result already")


def _concluded(app: Celery, step: Step, token: str, answer: T | ResultRow, rt: Runtime) -> T | Ended:
    """End the attempt. A result is recorded by the same call; when it fills its shard, queue the shard for writing."""
    row = step.row
    if not isinstance(answer, ResultRow):
        rt.ledger.attempts.end(row.run_id, row.shard_id, row.ordinal, step.name, token)
        return answer
    tracing.describe(outcome=answer.outcome, **answer.result_info.get("stages", {}))
    if pipeline.record(row, answer, rt, step=step.name, token=token):
        app.send_task(TaskName.WRITE_SHARD, (row.run_id, row.shard_id))
    return Ended(verdict(answer))


def _decided(step: Step, attempt: int, error: Exception, rt: Runtime) -> ResultRow | Ended:
    """Return the row's result as a failure, or defer the step."""
    settings, row = rt.settings, step.row
    backoff = Backoff(settings.delivery.retry_first_seconds, settings.delivery.retry_longest_seconds)
    if is_bug(error):
        log.error("%s: unexpected error", step, exc_info=error)
    decision = decide(
        error, stage=step.name, attempt=attempt, max_attempts=settings.delivery.max_attempts, backoff=backoff
    )
    pipeline.release(row, rt)
    ATTEMPTS.labels(step.name, "failed" if isinstance(decision, Record) else "again").inc()
    if isinstance(decision, Record):
        return pipeline.failed(row, decision.failure, rt)
    if not decision.counts_as_attempt:
        rt.ledger.attempts.forget(row.run_id, row.shard_id, row.ordinal)
    if not is_bug(error):
        rt.report_failure(f"{step.name}: {error}", is_pause=isinstance(error, TierOpen))
    # For any node: this one may be gone by then, its device broken, or its manifest another one.
    defer(rt.deferred, step.task, (for_any_node(step.message),), decision.wait_seconds)
    log.warning("%s: %s; again in %.1f s", step, error, decision.wait_seconds)
    return Ended(f"again in {decision.wait_seconds:.1f} s: {printable(error)}"[:MOST_CHARACTERS])
