"""How many messages wait in queues."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any


def waiting_messages(channel: Any, queues: Iterable[str]) -> int:
    """Return how many messages wait in ``queues`` together, of all priorities; a queue that does not exist has none."""
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
