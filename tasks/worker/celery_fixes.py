"""A heartbeat event that cannot be sent now is sent later: the event loop does not wait for it.

Celery sends ``worker-heartbeat`` on the event loop, and tries again until it has gone. On a network that drops packets
the loop then stands still for as long as the network is away and up to half a minute longer: nothing notices that the
connection is dead, and a probe of the heartbeat file takes the worker for hung. Not tried again, the event is kept by
the dispatcher and sent with the next connection.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from celery import bootsteps


class UnhurriedHeart(bootsteps.StartStopStep):
    """Sends this connection's heartbeats without retries."""

    requires = ("celery.worker.consumer.heart:Heart",)

    def start(self, parent: Any) -> None:
        """Put our sending in the place of Celery's. ``_send`` is private to Celery (covered by tests)."""
        heart = parent.heart
        if heart is None:  # --without-heartbeat
            return
        send = heart._send = partial(heart._send, retry=False)  # noqa: SLF001 -- see the docstring
        if heart.tref is not None:
            heart.tref.cancel()
            heart.tref = heart.timer.call_repeatedly(heart.interval, send, ("worker-heartbeat",))
