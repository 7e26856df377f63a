"""The queue of a node whose GPU workers are gone: its messages go to whichever GPU worker is free.

They are sent anew and not moved: a message moved as it is still names its old queue, and would be given back to it
when the worker that took it dies in turn. Each is acknowledged after it was sent, so a crash in between doubles it.
What the dead worker itself held comes back to the queue later, when its leases lapse, and goes with the next round.
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


def forsaken_queues(ledger: Ledger, silence_seconds: float) -> list[str]:
    """Return the nodes' GPU queues that no living worker serves; none while nobody serves the shared one either."""
    served = {role for node in ledger.nodes(silence_seconds) for role in node.roles}
    if Queue.GPU.value not in served:
        return []  # there they would only pile up: downloads pause while a node's own queue is full
    return [queue for queue in gpu_queues(ledger) if queue not in served]


def drain(queue: str, app: Celery) -> int:
    """Send what waits in ``queue`` to the shared GPU queue; return how many messages."""
    with app.connection_for_write() as connection, connection.channel() as channel:
        sent = 0
        for message in _taken(app.amqp.queues[queue], waiting_messages(channel, [queue]), channel):
            _send_again(message, app)
            message.ack()
            sent += 1
    return sent


def _taken(queue: Any, most: int, channel: Any) -> Iterator[Any]:
    """Take up to ``most`` messages: those that are put back meanwhile wait for the next round."""
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
