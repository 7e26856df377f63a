"""Corrections of two faults of Celery: event heartbeats that block the loop, malformed messages that end the worker."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from celery import bootsteps

if TYPE_CHECKING:
    from celery.worker.consumer import Consumer


class NonBlockingHeartbeat(bootsteps.StartStopStep):
    """Sends Celery's event heartbeats without retries: a retry would block the event loop."""

    requires = ("celery.worker.consumer.heart:Heart",)

    def start(self, parent: Any) -> None:
        """Replace Celery's function that sends heartbeats. ``_send`` is private to Celery (covered by tests)."""
        heart = parent.heart
        if heart is None:  # --without-heartbeat
            return
        send = heart._send = partial(heart._send, retry=False)  # noqa: SLF001 -- see the docstring
        if heart.tref is not None:
            heart.tref.cancel()
            heart.tref = heart.timer.call_repeatedly(heart.interval, send, ("worker-heartbeat",))


logger = logging.getLogger(__name__)

MALFORMED = (ValueError, TypeError, LookupError, AttributeError)


class DropMalformed(bootsteps.StartStopStep):
    """Drops messages that Celery cannot parse and that would end the worker. On RabbitMQ they become dead letters."""

    requires = ("celery.worker.consumer.tasks:Tasks",)

    def start(self, parent: Any) -> None:
        """Wrap Celery's message handler; runs at every connect, before Celery's loop asks for the handler."""
        make: Callable[[Consumer], Callable[[Any], Any]] = type(parent).create_task_handler
        parent.create_task_handler = lambda: _dropping(parent, make(parent))


def _dropping(consumer: Any, read: Callable[[Any], Any]) -> Callable[[Any], Any]:
    def read_or_drop(message: Any) -> Any:
        try:
            return read(message)
        except MALFORMED as error:
            if isinstance(error, consumer.connection_errors):
                raise
            logger.exception("dropped a message that is not a task; its headers: %.500r", message.headers)
            return message.reject_log_error(logger, consumer.connection_errors)

    return read_or_drop
