"""A broker channel for one watching thread.

The consumer's channel belongs to the event loop and is replaced at every reconnect.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from kombu.exceptions import OperationalError

if TYPE_CHECKING:
    from celery import Celery
    from kombu import Connection

logger = logging.getLogger(__name__)


@dataclass
class SideChannel:
    """A channel that opens at first use, and again after a connection error. For one thread."""

    app: Celery
    _connection: Connection | None = None

    def attempt(self, act: Callable[[Any], None], purpose: str) -> bool:
        """Call ``act(channel)`` and return True; log the reason and return False when the broker cannot be reached."""
        connection = self._connection = self._connection or self.app.connection_for_write()
        errors: Any = (*connection.connection_errors, *connection.channel_errors, OperationalError)
        try:
            connection.connect()
            act(connection.default_channel)
        except errors as error:
            logger.warning("%s: the broker does not answer, trying again soon: %s", purpose, error)
            self.close()
            return False
        return True

    def close(self) -> None:
        """Close the connection; the next attempt opens another."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.release()
