"""Rescue of messages in the queue of a node whose GPU workers are gone: they are sent to the shared GPU queue.

They are sent as new messages and not moved: a moved message still names its old queue, and would go back there when its
next worker dies. Each is acknowledged after it was sent, so a crash in between duplicates it. Messages that the dead
worker itself held come back to the queue after their visibility timeout; the next rescue sends them.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from storage.ledger import Ledger
from tasks.broker.queue_depth import gpu_queues, waiting_messages
from tasks.messages import for_any_node
from tasks.queues import Queue

if TYPE_CHECKING:
    from celery import Celery

log = logging.getLogger(__name__)


def unserved_queues(ledger: Ledger, silence_seconds: float) -> list[str]:
    """Return the nodes' GPU queues without a living worker; none while the shared queue has no living worker either."""
    served = {role for node in ledger.heartbeats.nodes(silence_seconds) for role in node.roles}
    if Queue.GPU.value not in served:
        return []  # downloads pause while a node's own queue is full; the shared queue has no such limit
    return [queue for queue in gpu_queues(ledger) if queue not in served]


def send_to_shared_queue(queue: str, app: Celery) -> int:
    """Send the messages that wait in ``queue`` to the shared GPU queue; return their number."""
    with app.connection_for_write() as connection, connection.channel() as channel:
        sent = 0
        for message in _take(app.amqp.queues[queue], waiting_messages(channel, [queue]), channel):
            _send_again(message, app)
            message.ack()
            sent += 1
    return sent


def _take(queue: Any, most: int, channel: Any) -> Iterator[Any]:
    """Take up to ``most`` messages: those that arrive meanwhile wait for the next rescue."""
    bound = queue.bind(channel)
    for _ in range(most):
        message = bound.get(accept=["json"])
        if message is None:
            return
        yield message


def _send_again(message: Any, app: Celery) -> None:
    headers: Mapping[str, Any] = message.headers
    args, kwargs, embedded = message.payload
    app.send_task(
        headers["task"],
        [for_any_node(arg) if isinstance(arg, dict) else arg for arg in args],
        kwargs,
        task_id=headers["id"],
        root_id=headers.get("root_id"),
        parent_id=headers.get("parent_id"),
        chain=embedded.get("chain"),
        priority=message.properties.get("priority"),
        add_to_parent=False,
    )
