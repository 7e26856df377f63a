"""What a worker does only on RabbitMQ."""

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
    """Declares the dead-letter queue before anything is consumed: without it dead letters are dropped."""

    requires = ("celery.worker.consumer.tasks:Tasks",)

    def include_if(self, parent: Any) -> bool:
        """Only for RabbitMQ."""
        return _is_rabbitmq(parent.conninfo)

    def start(self, parent: Any) -> None:
        """Declare it, with its exchange and their binding."""
        dead_letter_queue()(parent.connection.default_channel).declare()


class NoDelayedDelivery(bootsteps.StartStopStep):
    """Leaves out the bootstep that declares 28 quorum queues and 28 exchanges for messages with a countdown or ETA.

    We send none: what is to be tried again waits in the ledger (``tasks.delivery.deferral``).
    """

    requires = ("celery.worker.consumer.delayed_delivery:DelayedDelivery",)

    def include_if(self, parent: Any) -> bool:
        """Take Celery's step off the list, which it joined before; we have nothing to start ourselves."""
        unwanted = "celery.worker.consumer.delayed_delivery.DelayedDelivery"
        parent.steps[:] = [step for step in parent.steps if step.name != unwanted]
        return False


class DrainHeartbeat(bootsteps.StartStopStep):
    """Keeps the connection alive during a drain.

    The main thread then waits for the pool and its event loop stands still. Without heartbeats RabbitMQ would close
    the connection and have the tasks that are just being finished run again elsewhere.
    """

    requires = ("tasks.worker.stop:Drain",)

    def include_if(self, parent: WorkController) -> bool:
        """Only for RabbitMQ; Redis has no heartbeats, and leases are renewed by a thread of their own."""
        return _is_rabbitmq(parent.app.connection_for_read())

    def stop(self, parent: WorkController) -> None:
        """Called on the main thread after the consumer has stopped and before the pool does."""
        consumer: Any = parent.consumer  # type: ignore[attr-defined]  # set by the Consumer bootstep
        connection = consumer.connection and consumer.connection.connection
        if connection is None or not connection.heartbeat:
            return
        lost: list[Exception] = []

        def tick() -> None:
            # While a task runs the main thread waits, so that nobody else writes to the connection.
            if lost or not any(map(has_started, live_requests())):
                return
            try:
                connection.send_heartbeat()
            except consumer.connection_errors as error:
                lost.append(error)
                logger.warning("the broker is gone; what runs here will be delivered again: %s", error)

        start_ticker("drain-heartbeat", connection.heartbeat / HEARTBEATS_PER_TIMEOUT, tick)
