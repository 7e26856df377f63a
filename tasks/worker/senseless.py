"""A message that Celery cannot make a task of is dropped with an error; it must not take one worker after another down.

Celery 5.7 drops what it cannot decode, but lets other errors of a malformed message through: the worker ends, the
message is delivered again, and the next worker ends.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from celery import bootsteps

if TYPE_CHECKING:
    from celery.worker.consumer import Consumer

logger = logging.getLogger(__name__)

MALFORMED = (ValueError, TypeError, LookupError, AttributeError)


class Senseless(bootsteps.StartStopStep):
    """Stands between the transport and Celery's own reader of messages. On RabbitMQ what it drops is a dead letter."""

    requires = ("celery.worker.consumer.tasks:Tasks",)

    def start(self, parent: Any) -> None:
        """At every connect: Celery's loop asks for the reader right after."""
        make: Callable[[Consumer], Callable[[Any], Any]] = type(parent).create_task_handler
        parent.create_task_handler = lambda: _dropping(parent, make(parent))


def _dropping(consumer: Any, read: Callable[[Any], Any]) -> Callable[[Any], Any]:
    def read_or_drop(message: Any) -> Any:
        try:
            return read(message)
        except MALFORMED as error:
            if isinstance(error, consumer.connection_errors):
                raise
            logger.exception("dropped a message that is no task; its headers: %.500r", message.headers)
            return message.reject_log_error(logger, consumer.connection_errors)

    return read_or_drop
