"""A message that this worker cannot read, for a newer tamis sent it: it waits for a worker that can.

While a fleet is upgraded, workers of two releases take from the same queues. Whoever reads a message in vain has it
sent again later, to any worker, as it is. A message that nobody read in about an hour is dropped: by then the sweep
has had its row fed again, in the words of the workers that are there (a fleet that went back to the older release).
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from celery import Task
from celery.exceptions import Reject

from storage.errors import Unavailable
from tasks.delivery.decisions import Backoff
from tasks.delivery.deferral import later
from tasks.messages import UnknownSchema, for_any_node, refusals_of, refused
from tasks.queues import TaskName
from tasks.resources import runtime

log = logging.getLogger(__name__)

T = TypeVar("T")

MOST_REFUSALS = 100  # with the default waits, 1 s to 60 s: 70 minutes, four times what the sweep needs


def read(
    task: Task[..., Any], name: TaskName, message: dict[str, Any], load: Callable[[Mapping[str, Any]], T]
) -> T | None:
    """Parse the message; None when it was left to another worker, and the chain then stops here."""
    try:
        return load(message)
    except UnknownSchema as error:
        task.request.chain = None
        _leave(name, message, error)
        return None


def _leave(name: TaskName, message: dict[str, Any], why: UnknownSchema) -> None:
    refusals = refusals_of(message) + 1
    if refusals > MOST_REFUSALS:
        log.error("%s: %s; refused %d times, dropped: the sweep feeds its row again", name, why, MOST_REFUSALS)
        return
    rt = runtime.current()
    backoff = Backoff(rt.settings.retry_backoff_seconds, rt.settings.retry_backoff_max_seconds)
    wait_seconds = backoff.wait_seconds(refusals)
    try:
        later(rt.deferred, name, (refused(for_any_node(message)),), wait_seconds)
    except Unavailable as error:
        msg = f"{name} goes back to its queue: {error}"
        raise Reject(msg, requeue=True) from error
    log.warning("%s: %s; left to another worker in %.1f s", name, why, wait_seconds)
