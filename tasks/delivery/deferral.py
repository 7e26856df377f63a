"""Work to be tried again after a wait.

The message waits in Redis, not as an ETA in some worker's memory: it holds no slot and no lease, and outlives workers.
"""

from __future__ import annotations

import json
import logging
from typing import Any

from celery import chain, signature
from kombu.exceptions import OperationalError

from storage.errors import Unavailable
from storage.ledger import Deferred
from tasks.celery import app
from tasks.queues import TaskName

log = logging.getLogger(__name__)

BATCH_MESSAGES = 200

# A download goes on to infer; the other steps end where they end.
NEXT_STEP = {TaskName.DOWNLOAD: TaskName.INFER}


def later(deferred: Deferred, task: TaskName, args: tuple[Any, ...], wait_seconds: float) -> None:
    """Have ``task(*args)``, and the step after it, sent in ``wait_seconds``; the caller's message may then be acked."""
    deferred.add(json.dumps([task.value, args], sort_keys=True), wait_seconds)


def send_due(deferred: Deferred) -> int:
    """Send the messages whose time has come; return how many. One that was sent by somebody who died is sent again."""
    sent = 0
    while messages := deferred.take_due(BATCH_MESSAGES):
        for message in messages:
            name, args = json.loads(message)
            _send(TaskName(name), args)
        deferred.forget(messages)
        sent += len(messages)
    return sent


def send_due_quietly(deferred: Deferred) -> None:
    """Send what is due; a broker or ledger that is away is asked again at the next tick."""
    try:
        send_due(deferred)
    except (Unavailable, OperationalError) as error:
        log.warning("retries wait: %s", error)


def _send(task: TaskName, args: list[Any]) -> None:
    steps = [signature(task.value, args=args, app=app)]
    if (following := NEXT_STEP.get(task)) is not None:
        steps.append(signature(following.value, app=app))
    chain(*steps, app=app).apply_async()
