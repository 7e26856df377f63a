"""``tasks.feed``: open the next shards of a run and publish their rows."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from kombu import Producer
from kombu.exceptions import BatchPublishError  # type: ignore[attr-defined]  # celery-types knows kombu 5.4

from storage.errors import Unavailable, UsageError
from storage.ledger import RunOrder
from tasks import pipeline
from tasks.celery import app
from tasks.download import download
from tasks.history.note import is_due
from tasks.infer import infer
from tasks.messages import RowMessage, dump_row
from tasks.queues import TaskName
from tasks.resources import runtime
from tasks.telemetry import tracing

log = logging.getLogger(__name__)

BATCH_COMMANDS = 500  # sent together; each message takes two: itself, and the event about it


@app.task(name=TaskName.FEED.value)
def feed(run_id: str) -> None:
    """Open shards of the run up to the limit, or end the shards of a cancelled run.

    Sent by submit, by every written shard, and by beat.

    When a table cannot be read, the next message of this task tries the same shard again. ``tamis sift`` and
    ``tamis runs`` show the reason meanwhile.
    """
    rt = runtime.current()
    try:
        if rt.ledger.orders.of(run_id) is RunOrder.CANCELLED:
            for shard_id in pipeline.shards_to_cut(run_id, rt):
                app.send_task(TaskName.WRITE_SHARD, (run_id, shard_id))
            rows = 0
        else:
            rows = pipeline.feed(run_id, rt, publish)
        if is_due(run_id, rt):
            app.send_task(TaskName.NOTE_RUN, (run_id,))
    except (Unavailable, UsageError) as error:
        log.warning("run %s was not fed: %s", run_id, error)
        return
    if rows:
        log.info("run %s: fed %d rows", run_id, rows)


def publish(rows: Sequence[RowMessage]) -> None:
    """Send one ``download → infer`` chain per row, all over one connection.

    When the connection breaks, the shard is given back and fed again: rows that are sent twice do no harm.
    """
    with app.producer_pool.acquire(block=True) as producer:
        send(rows, producer)


def send(rows: Sequence[RowMessage], producer: Producer) -> None:
    """Send the rows in batches where the transport has them (Redis), else one by one."""
    try:
        with producer.batch(max_size=BATCH_COMMANDS):  # type: ignore[attr-defined]  # likewise
            send_each(rows, producer)
    except BatchPublishError as error:
        # Some rows may have arrived. A row that arrives twice does no harm: its first result counts.
        log.warning("%s: sending %d rows again, one by one", error, len(rows))
        send_each(rows, producer)


def send_each(rows: Sequence[RowMessage], producer: Producer) -> None:
    """Send the rows one by one; outside a batch, each is sent over a new connection when the old one breaks."""
    for row in rows:
        # Not chain(…).apply_async: it ignores the producer and takes another from the pool for every message.
        steps = [infer.s()]
        with tracing.trace_per_video():
            download.apply_async((dump_row(row),), chain=steps, producer=producer)  # type: ignore[call-arg]  # likewise
