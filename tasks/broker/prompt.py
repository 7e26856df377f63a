"""Broker connections that are tried again every few seconds, however long the broker has been away."""

from __future__ import annotations

from typing import Any, Self

from kombu import Connection

LONGEST_PAUSE_SECONDS = 6
"""Between two attempts of a worker to reach its broker. kombu waits up to 30, and Celery has no setting for it: a node
whose network came back would stand idle for half a minute."""


class PromptConnection(Connection):
    """kombu's connection with other pauses. A subclass: Celery takes a class and makes more of its kind from it."""

    def ensure_connection(self, *args: Any, **options: Any) -> Self:
        """Try until the broker is there, with pauses no longer than that."""
        return super().ensure_connection(*args, **{"interval_max": LONGEST_PAUSE_SECONDS, **options})
