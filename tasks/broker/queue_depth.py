"""The queues of the fleet, and the number of messages that wait in them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from storage.ledger import KNOWN_NODE_SECONDS, Deferred, Ledger
from tasks.queues import Queue, gpu_queue

if TYPE_CHECKING:
    from celery import Celery


def gpu_queues(ledger: Ledger) -> list[str]:
    """Return the names of the GPU queues: the shared one, and one for each node that the ledger knows."""
    return [Queue.GPU.value, *(gpu_queue(node.name) for node in ledger.heartbeats.nodes(KNOWN_NODE_SECONDS))]


def is_quiet(ledger: Ledger, deferred: Deferred, app: Celery) -> bool:
    """Return whether no row waits for a worker or for its retry, and no full shard for a worker.

    Shards that an output table refuses are not counted: they may wait for days, beside rows that were lost.
    """
    if deferred.count_steps():
        return False
    queues = [Queue.IO.value, Queue.RESULTS.value, *gpu_queues(ledger)]
    with app.connection_for_write() as connection:
        # One channel per queue: RabbitMQ closes a channel that asks for a queue which does not exist.
        return not any(waiting_messages(connection.channel(), [queue]) for queue in queues)


def waiting_messages(channel: Any, queues: Iterable[str]) -> int:
    """Return the number of messages that wait in ``queues``, of all priorities; a queue that does not exist has 0."""
    return sum(_waiting(channel, queue) for queue in queues)


def _waiting(channel: Any, queue: str) -> int:
    # On Redis not by a passive declare: kombu 5.7 asks EXISTS without the global_keyprefix, so every queue is
    # "not found". ``_size`` is kombu's own name for the length (pinned, covered by tests/fleet/test_worker_stall.py).
    size = getattr(channel, "_size", None)
    if size is not None:
        return int(size(queue))
    try:
        return int(channel.queue_declare(queue, passive=True).message_count)
    except channel.connection.channel_errors:
        return 0
