"""Corrections of Celery and kombu: heartbeats that block the loop, malformed messages that end the worker, CPU time.

The last is measured by ``make bench CASE=rows``.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from celery import bootsteps
from kombu.transport.redis import Channel

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


EVENTS_SECONDS = 0.25  # that an event waits for others


class BatchedEvents(bootsteps.StartStopStep):
    """Publishes the task events of a quarter of a second together; Celery publishes each by itself as it comes.

    Those about the messages that the worker sends are among them. Their dispatcher, ``AMQP._event_dispatcher``, is
    private to Celery (covered by tests).
    """

    requires = ("celery.worker.consumer.events:Events",)

    def __init__(self, parent: Any, **options: Any) -> None:
        super().__init__(parent, **options)
        self.timer_entry: Any = None

    def start(self, parent: Any) -> None:
        """Take over the publishing from Celery's loop, which has a dispatcher for each connection."""
        dispatcher = parent.event_dispatcher
        if parent.hub is None or dispatcher is None:
            return
        dispatcher.on_send_buffered = None
        parent.app.amqp._event_dispatcher.publish = partial(_with_others, dispatcher)  # noqa: SLF001 -- see the class
        self.timer_entry = parent.timer.call_repeatedly(EVENTS_SECONDS, dispatcher.flush)

    def stop(self, parent: Any) -> None:
        """Give it back: tasks that end during a drain have no timer."""
        if self.timer_entry is None:
            return
        self.timer_entry.cancel()
        vars(parent.app.amqp._event_dispatcher).pop("publish", None)  # noqa: SLF001 -- likewise
        if parent.event_dispatcher is not None:
            parent.event_dispatcher.on_send_buffered = parent.on_send_event_buffered
            parent.on_send_event_buffered()


def _with_others(dispatcher: Any, kind: str, fields: Mapping[str, Any], _producer: Any, **_: Any) -> None:
    dispatcher.send(kind, **fields)


def keep_redis_clients() -> None:
    """Let each of kombu's Redis channels keep its client.

    kombu 5.7 makes one for every command, and each fills a table of 300 entries: a tenth of an io worker's CPU time. A
    client holds nothing but its pool of connections, which the channel replaces when it connects anew.
    """
    make = Channel._create_client  # type: ignore[attr-defined]  # noqa: SLF001 -- private to kombu, covered by a test

    def kept_or_made(channel: Any, asynchronous: bool = False) -> Any:
        if asynchronous:
            return make(channel, asynchronous=True)
        kept = getattr(channel, "kept_client", None)
        if kept is None or kept.connection_pool is not channel.pool:
            kept = channel.kept_client = make(channel)
        return kept

    Channel._create_client = kept_or_made  # type: ignore[attr-defined]  # noqa: SLF001 -- as above


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
