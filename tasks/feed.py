"""``tasks.feed``: open the next shards of a run and send their rows on their way."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from celery import chain

from tasks import pipeline, runtime
from tasks.app import app
from tasks.download import download
from tasks.infer import infer
from tasks.messages import RowMessage, dump_row
from tasks.queues import TaskName

log = logging.getLogger(__name__)


@app.task(name=TaskName.FEED.value)
def feed(run_id: str) -> None:
    """Fill the run's window. Woken by submit, by every written shard, and by beat."""
    if rows := pipeline.feed(run_id, runtime.current(), publish):
        log.info("run %s: fed %d rows", run_id, rows)


def publish(rows: Sequence[RowMessage]) -> None:
    """Send one ``download → infer`` chain per row, all over one connection.

    A broken connection half-way leaves an open shard with missing rows: the sweep feeds those again.
    """
    with app.producer_pool.acquire(block=True) as producer:
        for row in rows:
            chain(download.s(dump_row(row)), infer.s()).apply_async(producer=producer)
