"""Corrections of what Celery does wrong here: a heartbeat that blocks the event loop, messages that end the worker."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from celery import bootsteps

if TYPE_CHECKING:
    from celery.worker.consumer import Consumer


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
