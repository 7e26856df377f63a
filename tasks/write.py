"""``tasks.write_shard``: a full shard goes to the output table as one batch."""

from __future__ import annotations

import logging
from typing import Any

from celery import Task

from storage.errors import Unavailable
from tasks import pipeline, runtime
from tasks.app import app
from tasks.errors import Backoff
from tasks.queues import TaskName

log = logging.getLogger(__name__)


@app.task(name=TaskName.WRITE_SHARD.value, bind=True, max_retries=None)
def write_shard(self: Task[..., Any], run_id: str, shard_id: str) -> None:
    """Write and close the shard, then wake the feeder: there is room for another.

    A table that refuses writes is waited for as long as it takes; the window keeps the waiting shards few.
    """
    rt = runtime.current()
    try:
        was_written = pipeline.write_shard(run_id, shard_id, rt)
    except Unavailable as error:
        backoff = Backoff(rt.settings.retry_backoff_seconds, rt.settings.retry_backoff_max_seconds)
        wait_seconds = backoff.wait_seconds(self.request.retries + 1)
        log.warning("shard %s of run %s not written: %s; again in %.1f s", shard_id, run_id, error, wait_seconds)
        raise self.retry(countdown=wait_seconds) from error
    if was_written:
        log.info("run %s: shard %s written", run_id, shard_id)
        app.send_task(TaskName.FEED, (run_id,))
