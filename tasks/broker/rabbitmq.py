"""RabbitMQ: quorum queues with a delivery limit, and a queue for the dead letters beyond it.

RabbitMQ refuses to declare a queue twice with different arguments, and Celery declares a queue at every publisher and
consumer. So :func:`quorum_queue` makes every queue of ours, each ``gpu.<node>`` too, from constants: a limit that came
from a setting could not be changed while the queue exists.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

from celery.app.amqp import AMQP, Queues
from kombu import Connection, Exchange, Queue

if TYPE_CHECKING:
    from collections.abc import Sequence

QUORUM = "quorum"

DELIVERY_LIMIT = 20
"""Returns to its queue after which a message becomes a dead letter. A worker's death counts as one return, and so does
a stop that gives waiting messages back. Our attempt limit records a row as failed sooner; this limit ends messages that
never reach it."""

CONSUMER_TIMEOUT_MILLISECONDS = 24 * 3600 * 1000
"""Longest time that a consumer may hold a message unacknowledged. RabbitMQ's default, 30 minutes, would cut off a
worker in a long task; the watchdog ends tasks that hang. RabbitMQ older than 3.12 ignores this argument and uses the
server's setting."""

HEARTBEAT_SECONDS = 10.0
"""AMQP heartbeat interval. A lost host or network is noticed after two to three of them, a killed process at once."""

DEAD_LETTERS_MOST = 10_000

DEAD_LETTER_EXCHANGE = Exchange("tamis.dead", type="fanout", durable=True)
# Celery declares a queue at the first publish of a connection. When the queue is deleted later, messages to it go to
# the dead letters; without the alternate exchange RabbitMQ would confirm and drop them.
EXCHANGE = Exchange("tamis", type="topic", durable=True, arguments={"alternate-exchange": DEAD_LETTER_EXCHANGE.name})


def quorum_queue(name: str) -> Queue:
    """Return the declaration of the queue ``name``; equal names give equal declarations."""
    return Queue(
        name,
        EXCHANGE,
        routing_key=name,
        durable=True,
        queue_arguments={
            "x-queue-type": QUORUM,
            "x-delivery-limit": DELIVERY_LIMIT,
            "x-dead-letter-exchange": DEAD_LETTER_EXCHANGE.name,
        },
        consumer_arguments={"x-consumer-timeout": CONSUMER_TIMEOUT_MILLISECONDS},
    )


def dead_letter_queue() -> Queue:
    """Return the declaration of the queue that keeps the newest ``DEAD_LETTERS_MOST`` dead letters for operators."""
    arguments = {"x-queue-type": QUORUM, "x-max-length": DEAD_LETTERS_MOST}
    return Queue("dead", DEAD_LETTER_EXCHANGE, durable=True, queue_arguments=arguments)


def rabbitmq_settings(default_queue: str) -> dict[str, object]:
    """Return Celery's settings for RabbitMQ; the app must be made with :class:`QuorumAmqp`."""
    queues: Sequence[Queue] = (quorum_queue(default_queue),)
    return {
        "task_queues": queues,
        "task_create_missing_queue_type": QUORUM,
        # Quorum queues refuse a prefetch count for a whole channel; with this it is set for each consumer.
        "worker_detect_quorum_queues": True,
        # A publish returns when a majority of the nodes has stored the message, or raises.
        "broker_transport_options": {"confirm_publish": True},
        "broker_heartbeat": HEARTBEAT_SECONDS,
    }


LONGEST_PAUSE_SECONDS = 6
"""Longest pause between two attempts of a worker to reach its broker. kombu waits up to 30 s, and Celery has no setting
for it: a node whose network came back would be idle for half a minute."""


class PromptConnection(Connection):
    """kombu's connection with shorter pauses. A subclass, because Celery takes a class and makes instances of it."""

    def ensure_connection(self, *args: Any, **options: Any) -> Self:
        """Try until the broker answers, with pauses of at most ``LONGEST_PAUSE_SECONDS``."""
        return super().ensure_connection(*args, **{"interval_max": LONGEST_PAUSE_SECONDS, **options})


class QuorumQueues(Queues):
    """Celery's map of queues; on RabbitMQ a missing queue becomes a quorum queue of ours."""

    def new_missing(self, name: str) -> Queue:
        """Return the declaration of a queue that is not in the map."""
        if self.create_missing_queue_type == QUORUM:  # type: ignore[attr-defined]  # celery-types omits it
            return quorum_queue(name)
        return super().new_missing(name)


class QuorumAmqp(AMQP):
    """Celery's AMQP interface with our queues and connections: the extension point that Celery offers for them."""

    queues_cls = QuorumQueues
    Connection = PromptConnection
