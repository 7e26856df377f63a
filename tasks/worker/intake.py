"""Back-pressure: while there is no room, the worker stops consuming. It blocks nothing and drops nothing."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from celery import bootsteps
from celery.exceptions import ImproperlyConfigured

from tasks.worker.config import WorkerConfig, wiring_of

logger = logging.getLogger(__name__)

POLL_SECONDS = 0.25


def check_queues(consumed: frozenset[str], gated: frozenset[str]) -> bool:
    """Return whether a worker of ``consumed`` queues is gated. ImproperlyConfigured where only some of them are.

    The gate is the channel's: it would also stop the queue whose tasks make room, and so never open again.
    """
    others = consumed - gated
    if not consumed & gated:
        return False
    if others:
        raise ImproperlyConfigured(
            f"one worker consumes {sorted(consumed & gated)}, which wait for room, together with {sorted(others)}, "
            "which may have to make it: start one worker process for each group (celery worker -Q …)"
        )
    return True


def gate_channel(channel: Any, is_open: Callable[[], bool]) -> None:
    """Let ``channel`` ask for messages only while ``is_open()``.

    A BRPOP already sent may be answered with a message, and Redis no longer has it then: the gate lets that one
    in, or it would lie in the socket until the gate opens, and be lost if the process dies.
    ``Channel._in_poll`` is private to kombu (pinned to 5.7, covered by tests/fleet/test_worker_gate.py).
    """
    has_credit = channel.qos.can_consume

    def can_consume() -> bool:
        may_ask = is_open() or bool(getattr(channel, "_in_poll", None))
        return may_ask and bool(has_credit())

    channel.qos.can_consume = can_consume


def gate_consumer(consumer: Any, is_open: Callable[[], bool]) -> None:
    """Let ``consumer`` subscribe to its queues only while ``is_open()``: for brokers that push, RabbitMQ.

    What was pushed before is run: it is no more than the worker has threads. Celery itself subscribes at every
    connect, hence the gate on ``consume`` as well.
    """
    subscribe = consumer.consume

    def consume(no_ack: bool | None = None) -> None:
        if is_open():
            subscribe(no_ack=no_ack)

    consumer.consume = consume


class Gate(bootsteps.StartStopStep):
    """Watches ``is_room`` on the event loop and gates each new channel, so also after a reconnect."""

    requires = ("celery.worker.consumer.tasks:Tasks",)

    def __init__(self, parent: Any, **options: Any) -> None:
        super().__init__(parent, **options)
        self.wiring = wiring_of(parent.app)
        self.timer_entry: Any = None

    @property
    def config(self) -> WorkerConfig:
        """The worker's configuration."""
        return self.wiring.config

    def include_if(self, parent: Any) -> bool:
        """Only for workers of gated queues."""
        if self.config.is_room is None:
            return False
        return check_queues(frozenset(parent.app.amqp.queues.consume_from), self.config.gated_queues)

    def start(self, parent: Any) -> None:
        """Gate the new channel."""
        self._look()
        consumer, pulse = parent.task_consumer, self.wiring.pulse
        if parent.connection.transport.driver_type == "amqp":
            gate_consumer(consumer, lambda: pulse.is_gate_open)
        else:
            gate_channel(consumer.channel, lambda: pulse.is_gate_open)
        self.timer_entry = parent.timer.call_repeatedly(POLL_SECONDS, self._follow, (parent,))

    def stop(self, parent: Any) -> None:  # noqa: ARG002 - Celery's signature
        """Stop watching; the channel is about to go."""
        if self.timer_entry is not None:
            self.timer_entry.cancel()

    def _follow(self, parent: Any) -> None:
        if not self._look() or parent.connection.transport.driver_type != "amqp":
            return
        consumer = parent.task_consumer
        try:
            consumer.consume() if self.wiring.pulse.is_gate_open else consumer.cancel()
        except parent.connection_errors as error:  # the event loop finds the same, and connects again
            logger.debug("the connection was lost while consuming was being switched: %s", error)

    def _look(self) -> bool:
        """Ask whether there is room; return whether the answer is a new one."""
        is_open = self.config.is_room is None or bool(self.config.is_room())
        is_new = is_open is not self.wiring.pulse.is_gate_open
        if is_new:
            self.wiring.pulse.is_gate_open = is_open
            logger.info("there is room again: consuming" if is_open else "no room: consuming stops until there is")
        return is_new
