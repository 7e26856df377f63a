"""Periodic tasks, sent by beat: they repair the effects of crashes, lost messages and lost wake-ups."""

from __future__ import annotations

import logging
from contextlib import closing
from functools import cache

from tasks.broker.queue_depth import is_quiet
from tasks.celery import app
from tasks.delivery import sweep as sweeping
from tasks.delivery.rescue import send_to_shared_queue, unserved_queues
from tasks.feed import publish
from tasks.ingest.tick import ingest_context, tick, utc_now
from tasks.queues import Queue, TaskName
from tasks.resources import runtime
from tasks.resources.redis import ledger_client

log = logging.getLogger(__name__)


@app.task(name=TaskName.TOP_UP.value)
def top_up() -> None:
    """Wake the feeder of every run that is not complete."""
    for run in runtime.current().ledger.runs():
        if not run.is_complete:
            app.send_task(TaskName.FEED, (run.run_id,))


@app.task(name=TaskName.SWEEP.value)
def sweep() -> None:
    """Send lost rows and unwritten shards again."""
    rt = runtime.current()
    send = sweeping.Sender(publish, lambda run_id, shard_id: app.send_task(TaskName.WRITE_SHARD, (run_id, shard_id)))
    sweeping.sweep(rt, send, cache(lambda: is_quiet(rt.ledger, rt.deferred, app)))


@app.task(name=TaskName.RESCUE.value)
def rescue() -> None:
    """Send messages that wait for the GPU workers of a dead node to the shared GPU queue."""
    rt = runtime.current()
    for queue in unserved_queues(rt.ledger, rt.settings.delivery.node_silence_seconds):
        if sent := send_to_shared_queue(queue, app):
            log.warning("%s has no worker any more: %d messages sent to %s", queue, sent, Queue.GPU.value)


@app.task(name=TaskName.INGEST.value)
def ingest() -> None:
    """Check the sources that are due, and start a run for each partition that is complete and not sifted yet."""
    settings = runtime.current().settings
    if settings.ingest.sources is not None:
        with closing(ledger_client(settings)) as client:
            tick(ingest_context(client, settings), utc_now())
