"""``tasks.write_shard``: a full shard goes to the output table as one batch."""

from __future__ import annotations

import logging

from storage.errors import Unavailable, UsageError
from tasks import pipeline, runtime
from tasks.app import app
from tasks.errors import Backoff
from tasks.queues import TaskName
from tasks.retry import later

log = logging.getLogger(__name__)


@app.task(name=TaskName.WRITE_SHARD.value)
def write_shard(run_id: str, shard_id: str, refusals: int = 0) -> None:
    """Write and close the shard, then wake the feeder: there is room for another.

    A table that refuses writes, or was changed so that it cannot take them, is waited for as long as it takes: somebody
    will mend it, and the window keeps the waiting shards few.
    """
    rt = runtime.current()
    try:
        was_written = pipeline.write_shard(run_id, shard_id, rt)
    except (Unavailable, UsageError) as error:
        backoff = Backoff(rt.settings.retry_backoff_seconds, rt.settings.retry_backoff_max_seconds)
        wait_seconds = backoff.wait_seconds(refusals + 1)
        later(rt.deferred, TaskName.WRITE_SHARD, (run_id, shard_id, refusals + 1), wait_seconds)
        log.warning("shard %s of run %s not written: %s; again in %.1f s", shard_id, run_id, error, wait_seconds)
        return
    if was_written:
        log.info("run %s: shard %s written", run_id, shard_id)
        app.send_task(TaskName.FEED, (run_id,))
