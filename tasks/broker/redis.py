"""Redis transport options: redelivery in seconds, no half-open sockets.

Standard library only: ``celeryconfig`` imports this before anything else exists.
"""

from __future__ import annotations

import socket

SWEEP_SECONDS = 1
"""How often each worker looks for lapsed leases. kombu's own default (10 s, every 10th time) finds them after 100 s."""

SWEEP_LOCK_SECONDS = 2
"""How long a worker that was killed while it looked keeps the others from looking. kombu's own default is 5 minutes."""

SOCKET_TIMEOUT_SECONDS = 30
CONNECT_TIMEOUT_SECONDS = 5
HEALTH_CHECK_SECONDS = 25

DEAD_PEER_SECONDS = 10
"""How long a peer that answers nothing is waited for. A network that drops packets tells nobody: without this a blocked
read ends after ``SOCKET_TIMEOUT_SECONDS``, an idle one after 50, and once the network is back a sender that kept
trying waits as long again as it was away."""


def keepalive_options() -> dict[int, int]:
    """Return TCP socket options with which a silent peer is given up after ``DEAD_PEER_SECONDS``, see tcp(7)."""
    return {
        socket.TCP_KEEPIDLE: 4,  # seconds of silence before the first probe
        socket.TCP_KEEPINTVL: 2,
        socket.TCP_KEEPCNT: 3,
        socket.TCP_USER_TIMEOUT: DEAD_PEER_SECONDS * 1000,  # what was sent and is not acknowledged; probes as well
    }


def redis_transport_options(visibility_timeout_seconds: float, keyprefix: str) -> dict[str, object]:
    """Return ``broker_transport_options`` for kombu 5.7 on Redis or Valkey, over TCP and over a unix socket.

    A message whose lease nobody renewed for ``visibility_timeout_seconds`` goes back to its queue at most
    ``SWEEP_SECONDS`` later. The shortest timeout of the whole fleet decides, so every process must use the same one,
    and every worker must renew its leases (``tasks.worker.redis_leases``): otherwise a longer task runs twice.

    ``retry_on_timeout`` is left out on purpose: it silently disables batch publishing.
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
        # Turn by turn: a node whose downloads keep its own queue full would otherwise never come to the shared one,
        # where the rows of a lost node and all retries wait.
        "queue_order_strategy": "round_robin",
        "global_keyprefix": keyprefix,
    }
