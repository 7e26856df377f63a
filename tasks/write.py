"""``tasks.write_shard``: a full shard goes to the output table as one batch."""

from __future__ import annotations

import logging

from storage.backoff import Backoff
from storage.errors import Unavailable, UsageError
from storage.ledger import is_retry
from storage.tables.protocol import Compacting
from tasks import pipeline
from tasks.celery import app
from tasks.delivery.deferral import later
from tasks.queues import TaskName
from tasks.resources import runtime

log = logging.getLogger(__name__)


@app.task(name=TaskName.WRITE_SHARD.value)
def write_shard(run_id: str, shard_id: str, refusals: int = 0) -> None:
    """Write and close the shard, then wake the feeder: there is room for another.

    A table that refuses writes, or was changed so that it cannot take them, is waited for as long as it takes: somebody
    will mend it, and the limit of open shards keeps the waiting ones few.
    """
    rt = runtime.current()
    try:
        was_written = pipeline.write_shard(run_id, shard_id, rt)
    except (Unavailable, UsageError) as error:
        backoff = Backoff(rt.settings.delivery.retry_first_seconds, rt.settings.delivery.retry_longest_seconds)
        wait_seconds = backoff.wait_seconds(refusals + 1)
        later(rt.deferred, TaskName.WRITE_SHARD, (run_id, shard_id, refusals + 1), wait_seconds)
        log.warning("shard %s of run %s not written: %s; again in %.1f s", shard_id, run_id, error, wait_seconds)
        return
    if was_written:
        log.info("run %s: shard %s written", run_id, shard_id)
        app.send_task(TaskName.FEED, (run_id,))
        if is_retry(shard_id):
            compact(run_id, rt)


def compact(run_id: str, rt: runtime.Runtime) -> None:
    """Drop what a retry has replaced, once nothing of the run is in flight, where the table keeps such rows.

    Nobody waits for it, and nobody sees the difference: what is left undone here, the next retry does.
    """
    run = rt.ledger.run(run_id)
    if run is None or not run.is_complete:
        return
    table = rt.output_table(run)
    if not isinstance(table, Compacting):
        return
    try:
        is_done = table.compact()
    except (Unavailable, UsageError) as error:
        log.warning("run %s: rows that a retry replaced stay in the table, unseen: %s", run_id, error)
    else:
        log.info("run %s: %s", run_id, "table compacted" if is_done else "table not compacted: it is written to")
