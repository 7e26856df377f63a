"""``tasks.write_shard``: write a full shard to the output table as one batch."""

from __future__ import annotations

import logging

from storage.backoff import Backoff
from storage.errors import Unavailable, UsageError
from tasks import pipeline
from tasks.celery import app
from tasks.delivery.deferral import defer
from tasks.queues import TaskName
from tasks.resources import runtime

log = logging.getLogger(__name__)


@app.task(name=TaskName.WRITE_SHARD.value)
def write_shard(run_id: str, shard_id: str, refusals: int = 0) -> None:  # noqa: ARG001 - sent by older releases
    """Write and close the shard, then wake the feeder: another shard may be opened.

    While the table refuses writes, the task is deferred again and again without limit: an operator has to correct the
    table, and the limit of open shards keeps the number of waiting shards small. A shard waits as one message, however
    often it was refused. A single row that the table cannot hold does not stop the shard: it is written as a failure.
    """
    rt = runtime.current()
    try:
        was_written = pipeline.write_shard(run_id, shard_id, rt)
    except (Unavailable, UsageError) as error:
        backoff = Backoff(rt.settings.delivery.retry_first_seconds, rt.settings.delivery.retry_longest_seconds)
        wait_seconds = backoff.wait_seconds(max(1, rt.ledger.note_refused_write(run_id, shard_id)))
        defer(rt.deferred, TaskName.WRITE_SHARD, (run_id, shard_id), wait_seconds)
        log.warning("shard %s of run %s not written: %s; again in %.1f s", shard_id, run_id, error, wait_seconds)
        return
    if was_written:
        log.info("run %s: shard %s written", run_id, shard_id)
        app.send_task(TaskName.FEED, (run_id,))
