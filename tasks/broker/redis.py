"""Options of the Redis transport: redelivery within seconds, no half-open sockets.

Only the standard library: ``celeryconfig`` imports this file before Celery is configured.
"""

from __future__ import annotations

import socket

SWEEP_SECONDS = 1
"""Interval at which each worker restores messages past their visibility timeout. kombu's default is 100 s (every tenth
of its 10 s ticks)."""

SWEEP_LOCK_SECONDS = 2
"""Expiry of the lock under which one worker restores messages: after this the others go on when its holder was killed.
kombu's default is 5 minutes."""

SOCKET_TIMEOUT_SECONDS = 30
CONNECT_TIMEOUT_SECONDS = 5
HEALTH_CHECK_SECONDS = 25

DEAD_PEER_SECONDS = 10
"""Time after which a silent peer is given up. A network that drops packets gives no error: without this limit a blocked
read ends after ``SOCKET_TIMEOUT_SECONDS``, an idle one after 50 s, and a sender that kept trying waits after the outage
for as long again as the outage took."""


def keepalive_options() -> dict[int, int]:
    """Return TCP socket options that give a silent peer up after ``DEAD_PEER_SECONDS``; see tcp(7)."""
    return {
        socket.TCP_KEEPIDLE: 4,  # seconds of silence before the first probe
        socket.TCP_KEEPINTVL: 2,
        socket.TCP_KEEPCNT: 3,
        socket.TCP_USER_TIMEOUT: DEAD_PEER_SECONDS * 1000,  # for data without acknowledgement, and for probes
    }


def redis_transport_options(visibility_timeout_seconds: float, keyprefix: str) -> dict[str, object]:
    """Return ``broker_transport_options`` for kombu 5.7 on Redis or Valkey, over TCP and over a unix socket.

    A message whose delivery time is older than ``visibility_timeout_seconds`` goes back to its queue at most
    ``SWEEP_SECONDS`` later. The shortest timeout in the fleet decides, so every process must use the same value, and
    every worker must renew the times of what it holds (``tasks.worker.redis_visibility``): otherwise a task that takes
    longer runs twice.

    ``retry_on_timeout`` is left out on purpose: it disables batch publishing without a message.
    """
    return {
        "visibility_timeout": visibility_timeout_seconds,
        "unacked_restore_interval": SWEEP_SECONDS,
        "unacked_restore_throttle": 1,
        "unacked_mutex_expire": SWEEP_LOCK_SECONDS,
        "socket_timeout": SOCKET_TIMEOUT_SECONDS,
        "socket_connect_timeout": CONNECT_TIMEOUT_SECONDS,  # kombu drops this and keep-alive for unix sockets
        "socket_keepalive": True,
        "socket_keepalive_options": keepalive_options(),
        "health_check_interval": HEALTH_CHECK_SECONDS,
        # Queues in turn: a node whose own queue is always full would otherwise never take from the shared queue,
        # where the rows of a lost node and all retries wait.
        "queue_order_strategy": "round_robin",
        "global_keyprefix": keyprefix,
    }
