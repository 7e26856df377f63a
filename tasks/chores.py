"""Periodic tasks, sent by beat: they repair the effects of crashes, lost messages and lost wake-ups.

Each beat of a fleet sends them all; a task runs when no other message of it has run in this period.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import closing
from functools import cache, wraps

from celery import Task

from storage.ledger import RunOrder
from tasks.broker.queue_depth import is_quiet
from tasks.celery import app
from tasks.delivery import sweep as sweeping
from tasks.delivery.rescue import send_to_shared_queue, unserved_queues
from tasks.feed import publish
from tasks.ingest.tick import ingest_context, tick, utc_now
from tasks.queues import PERIOD_HEADER, Queue, TaskName
from tasks.resources import runtime
from tasks.resources.redis import ledger_client
from tasks.resources.runtime import Runtime

log = logging.getLogger(__name__)

CLAIMED_SHARE = 0.8  # of a period: the next message of the same beat may arrive a little early


def periodic(name: TaskName) -> Callable[[Callable[[Runtime], None]], Task[..., None]]:
    """Make ``work`` the task ``name``; a message with a period does nothing if another has come in that time."""

    def decorate(work: Callable[[Runtime], None]) -> Task[..., None]:
        @app.task(name=name.value, bind=True)
        @wraps(work)
        def run(self: Task[..., None]) -> None:
            rt = runtime.current()
            if _is_first(rt, name, self.request.get(PERIOD_HEADER)):
                work(rt)

        return run

    return decorate


def _is_first(rt: Runtime, name: TaskName, period_seconds: object) -> bool:
    if rt.periods is None or not isinstance(period_seconds, int | float):
        return True
    return rt.periods.claim(name.value, CLAIMED_SHARE * period_seconds)


@periodic(TaskName.TOP_UP)
def top_up(rt: Runtime) -> None:
    """Wake the feeder of every run that is not complete."""
    for run in rt.ledger.runs():
        if not run.is_complete and run.order is not RunOrder.PAUSED:
            app.send_task(TaskName.FEED, (run.run_id,))


@periodic(TaskName.SWEEP)
def sweep(rt: Runtime) -> None:
    """Send lost rows and unwritten shards again."""
    send = sweeping.Sender(publish, lambda run_id, shard_id: app.send_task(TaskName.WRITE_SHARD, (run_id, shard_id)))
    sweeping.sweep(rt, send, cache(lambda: is_quiet(rt.ledger, rt.deferred, app)))


@periodic(TaskName.RESCUE)
def rescue(rt: Runtime) -> None:
    """Send messages that wait for the GPU workers of a dead node to the shared GPU queue."""
    for queue in unserved_queues(rt.ledger, rt.settings.delivery.node_silence_seconds):
        if sent := send_to_shared_queue(queue, app):
            log.warning("%s has no worker any more: %d messages sent to %s", queue, sent, Queue.GPU.value)


@periodic(TaskName.INGEST)
def ingest(rt: Runtime) -> None:
    """Check the sources that are due, and start a run for each partition that is complete and not sifted yet."""
    settings = rt.settings
    if settings.ingest.sources is not None:
        with closing(ledger_client(settings)) as client:
            tick(ingest_context(client, settings), utc_now())
