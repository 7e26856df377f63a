"""What beat calls: safety nets that find what a crash, a lost message or a lost wake-up left behind."""

from __future__ import annotations

import logging

from storage.ledger import OpenShard
from tasks import pipeline, runtime
from tasks.app import app
from tasks.feed import publish
from tasks.queues import TaskName

log = logging.getLogger(__name__)


@app.task(name=TaskName.TOP_UP.value)
def top_up() -> None:
    """Wake the feeder of every run that is not complete."""
    for run in runtime.current().ledger.runs():
        if not run.is_complete:
            app.send_task(TaskName.FEED, (run.run_id,))


@app.task(name=TaskName.SWEEP.value)
def sweep() -> None:
    """Look after shards without progress: write the full ones again, feed the missing rows of the others again."""
    rt = runtime.current()
    for run in rt.ledger.runs():
        for shard in rt.ledger.open_shards(run.run_id):
            if is_stale(shard, rt.settings.stale_shard_seconds):
                _revive(run.run_id, shard, rt)


def is_stale(shard: OpenShard, stale_seconds: float) -> bool:
    """Say whether the shard has waited too long; each feeding again doubles the patience."""
    return shard.idle_seconds > stale_seconds * 2.0 ** min(shard.refeeds, 10)


def _revive(run_id: str, shard: OpenShard, rt: runtime.Runtime) -> None:
    rt.ledger.note_refeed(run_id, shard.shard_id)
    if shard.is_full:
        app.send_task(TaskName.WRITE_SHARD, (run_id, shard.shard_id))
        log.warning("run %s: shard %s was full but not written: writing it again", run_id, shard.shard_id)
        return
    rows = pipeline.feed_again(run_id, shard.shard_id, rt, publish)
    log.warning("run %s: shard %s made no progress: fed %d rows again", run_id, shard.shard_id, rows)


@app.task(name=TaskName.RECLAIM.value)
def reclaim() -> None:
    """Take back what killed processes left in this node's spool."""
    log.info("spool reclaimed: %s", runtime.current().spool.reclaim())
