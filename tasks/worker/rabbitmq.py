"""Bootsteps for RabbitMQ: dead letters, no delayed delivery, AMQP heartbeats during a drain."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from celery import bootsteps

from tasks.broker.rabbitmq import dead_letter_queue
from tasks.worker.requests import has_started, live_requests
from tasks.worker.ticker import start_ticker

if TYPE_CHECKING:
    from celery.worker.worker import WorkController

logger = logging.getLogger(__name__)

HEARTBEATS_PER_TIMEOUT = 3


def _is_rabbitmq(connection: Any) -> bool:
    return bool(connection.transport.driver_type == "amqp")


class DeadLetters(bootsteps.StartStopStep):
    """Declares the dead-letter queue before consuming begins: without the queue, dead letters are dropped."""

    requires = ("celery.worker.consumer.tasks:Tasks",)

    def include_if(self, parent: Any) -> bool:
        """Return whether the broker is RabbitMQ."""
        return _is_rabbitmq(parent.conninfo)

    def start(self, parent: Any) -> None:
        """Declare the queue, its exchange and their binding."""
        dead_letter_queue()(parent.connection.default_channel).declare()


class NoDelayedDelivery(bootsteps.StartStopStep):
    """Removes Celery's bootstep that declares 28 quorum queues and 28 exchanges for messages with an ETA.

    tamis sends no such messages: deferred steps wait in the ledger (``tasks.delivery.deferral``).
    """

    requires = ("celery.worker.consumer.delayed_delivery:DelayedDelivery",)

    def include_if(self, parent: Any) -> bool:
        """Remove Celery's step from the list; this step itself has nothing to start."""
        unwanted = "celery.worker.consumer.delayed_delivery.DelayedDelivery"
        parent.steps[:] = [step for step in parent.steps if step.name != unwanted]
        return False


class DrainHeartbeat(bootsteps.StartStopStep):
    """Sends AMQP heartbeats during a drain.

    During a drain the main thread waits for the pool, and its event loop does not run. Without heartbeats RabbitMQ
    would close the connection and deliver the running tasks again.
    """

    requires = ("tasks.worker.stop:Drain",)

    def include_if(self, parent: WorkController) -> bool:
        """Return whether the broker is RabbitMQ; Redis has no heartbeats."""
        return _is_rabbitmq(parent.app.connection_for_read())

    def stop(self, parent: WorkController) -> None:
        """Start the heartbeats. Celery calls this on the main thread after the consumer stops, before the pool does."""
        consumer: Any = parent.consumer  # type: ignore[attr-defined]  # set by the Consumer bootstep
        connection = consumer.connection and consumer.connection.connection
        if connection is None or not connection.heartbeat:
            return
        lost: list[Exception] = []

        def tick() -> None:
            # While a task runs, the main thread waits, so no other thread writes to the connection.
            if lost or not any(map(has_started, live_requests())):
                return
            try:
                connection.send_heartbeat()
            except consumer.connection_errors as error:
                lost.append(error)
                logger.warning("the broker is gone; running tasks will be delivered again: %s", error)

        start_ticker("drain-heartbeat", connection.heartbeat / HEARTBEATS_PER_TIMEOUT, tick)
