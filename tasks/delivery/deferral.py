"""Deferred messages: steps that are sent again after a wait.

A deferred message waits in Redis, not as an ETA in a worker's memory: it takes no thread, needs no renewal, and is not
lost with a worker.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from celery import Celery, Task, chain, signature
from celery.exceptions import Reject
from kombu.exceptions import OperationalError

from storage.backoff import Backoff
from storage.errors import Unavailable
from storage.ledger import Deferred
from tasks.messages import UnknownSchema, for_any_node, refusals_of, with_refusal
from tasks.queues import TaskName
from tasks.resources import runtime

log = logging.getLogger(__name__)

BATCH_MESSAGES = 200

WRITES = frozenset({TaskName.WRITE_SHARD, TaskName.NOTE_RUN})  # a table refused them, and no row waits for them

# Only a download has a next step.
NEXT_STEP = {TaskName.DOWNLOAD: TaskName.INFER}


def defer(deferred: Deferred, task: TaskName, args: tuple[Any, ...], wait_seconds: float) -> None:
    """Have ``task(*args)`` and its next step sent in ``wait_seconds``; the caller may then acknowledge its message."""
    is_write = task in WRITES
    deferred.add(json.dumps([task.value, args], sort_keys=True), wait_seconds, is_write=is_write)


def send_due(deferred: Deferred, app: Celery) -> int:
    """Send the messages that are due; return their number.

    A message whose sender died before it forgot the message is sent a second time.
    """
    sent = 0
    while messages := deferred.take_due(BATCH_MESSAGES):
        for message in messages:
            name, args = json.loads(message)
            _send(TaskName(name), args, app)
        deferred.forget(messages)
        sent += len(messages)
    return sent


def send_due_or_log(deferred: Deferred, app: Celery) -> None:
    """Send what is due; log when broker or ledger cannot be reached: the next tick tries again."""
    try:
        send_due(deferred, app)
    except (Unavailable, OperationalError) as error:
        log.warning("retries are not sent now: %s", error)


def _send(task: TaskName, args: list[Any], app: Celery) -> None:
    steps = [signature(task.value, args=args, app=app)]
    if (following := NEXT_STEP.get(task)) is not None:
        steps.append(signature(following.value, app=app))
    chain(*steps, app=app).apply_async()


# ── messages of a newer tamis ─────────────────────────────────────────────────────────────────────────────────────────


T = TypeVar("T")

MOST_REFUSALS = 100  # with the default waits, 1 s to 60 s: 70 minutes, four times the sweep's longest wait


def read(
    task: Task[..., Any], name: TaskName, message: dict[str, Any], load: Callable[[Mapping[str, Any]], T]
) -> T | None:
    """Parse the message; return None after deferring one of a newer schema to another worker: the chain stops here."""
    try:
        return load(message)
    except UnknownSchema as error:
        task.request.chain = None
        _defer_to_newer_worker(name, message, error)
        return None


def _defer_to_newer_worker(name: TaskName, message: dict[str, Any], why: UnknownSchema) -> None:
    refusals = refusals_of(message) + 1
    if refusals > MOST_REFUSALS:
        log.error("%s: %s; refused %d times, dropped: the sweep feeds its row again", name, why, MOST_REFUSALS)
        return
    rt = runtime.current()
    backoff = Backoff(rt.settings.delivery.retry_first_seconds, rt.settings.delivery.retry_longest_seconds)
    wait_seconds = backoff.wait_seconds(refusals)
    try:
        defer(rt.deferred, name, (with_refusal(for_any_node(message)),), wait_seconds)
    except Unavailable as error:
        msg = f"{name} goes back to its queue: {error}"
        raise Reject(msg, requeue=True) from error
    log.warning("%s: %s; another worker is asked in %.1f s", name, why, wait_seconds)
