"""Broker connections that are tried again every few seconds, however long the broker has been away."""

from __future__ import annotations

from functools import partial
from typing import Any

from kombu import Connection

LONGEST_PAUSE_SECONDS = 6
"""Between two attempts of a worker to reach its broker. kombu waits up to 30, and Celery has no setting for it: a node
whose network came back would stand idle for half a minute."""


def prompt_connection(*args: Any, **options: Any) -> Connection:
    """Return a kombu connection, not open yet, whose pauses between attempts grow no longer than that."""
    connection = Connection(*args, **options)
    patient: Any = connection
    patient.ensure_connection = partial(connection.ensure_connection, interval_max=LONGEST_PAUSE_SECONDS)
    return connection
