"""How tamis uses RabbitMQ: quorum queues, each with a delivery limit and a way out for what exceeds it.

RabbitMQ refuses to declare a queue twice with different arguments, and Celery declares a queue wherever it is
published to or consumed from. So every queue of ours, ``gpu.<node>`` of any node too, is made by
:func:`quorum_queue`, from constants: a limit that came from a setting could not be changed while the queue exists.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

from celery.app.amqp import AMQP, Queues
from kombu import Connection, Exchange, Queue

if TYPE_CHECKING:
    from collections.abc import Sequence

QUORUM = "quorum"

DELIVERY_LIMIT = 20
"""Returns to its queue after which a message is dead-lettered. A worker's death is one, and so is a drain that gives
back what waits. Our attempts guard condemns a row sooner; this stops what the guard never gets to see."""

CONSUMER_TIMEOUT_MILLISECONDS = 24 * 3600 * 1000
"""How long a message may be held unacknowledged. RabbitMQ's own 30 minutes would cut off a worker in a long task;
ours that hang are ended by the watchdog. RabbitMQ older than 3.12 ignores it: there the server's setting counts."""

HEARTBEAT_SECONDS = 10.0
"""A vanished host or a dead network is noticed within two to three of these; a killed process at once."""

DEAD_LETTERS_MOST = 10_000

DEAD_LETTER_EXCHANGE = Exchange("tamis.dead", type="fanout", durable=True)
# Celery declares a queue at the first publish of a connection. Should somebody delete it later, what is sent to it
# is kept beside the dead letters; otherwise it would be dropped, confirmed all the same.
EXCHANGE = Exchange("tamis", type="topic", durable=True, arguments={"alternate-exchange": DEAD_LETTER_EXCHANGE.name})


def quorum_queue(name: str) -> Queue:
    """Return the declaration of one of our queues, always the same for the same name."""
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
    """Return the declaration of the queue that keeps the newest dead letters for people to look at."""
    arguments = {"x-queue-type": QUORUM, "x-max-length": DEAD_LETTERS_MOST}
    return Queue("dead", DEAD_LETTER_EXCHANGE, durable=True, queue_arguments=arguments)


def rabbitmq_settings(default_queue: str) -> dict[str, object]:
    """Return Celery's settings for RabbitMQ; the app must be made with :class:`QuorumAmqp`."""
    queues: Sequence[Queue] = (quorum_queue(default_queue),)
    return {
        "task_queues": queues,
        "task_create_missing_queue_type": QUORUM,
        # Quorum queues refuse a prefetch count for the whole channel; this makes it one for each consumer.
        "worker_detect_quorum_queues": True,
        # A publish returns when a majority of the nodes has stored the message, or raises.
        "broker_transport_options": {"confirm_publish": True},
        "broker_heartbeat": HEARTBEAT_SECONDS,
    }


LONGEST_PAUSE_SECONDS = 6
"""Between two attempts of a worker to reach its broker. kombu waits up to 30, and Celery has no setting for it: a node
whose network came back would stand idle for half a minute."""


class PromptConnection(Connection):
    """kombu's connection with other pauses. A subclass: Celery takes a class and makes more of its kind from it."""

    def ensure_connection(self, *args: Any, **options: Any) -> Self:
        """Try until the broker is there, with pauses no longer than that."""
        return super().ensure_connection(*args, **{"interval_max": LONGEST_PAUSE_SECONDS, **options})


class QuorumQueues(Queues):
    """Celery's map of queues, which makes a missing one ours where the broker is RabbitMQ."""

    def new_missing(self, name: str) -> Queue:
        """Return a declaration for a queue that somebody names."""
        if self.create_missing_queue_type == QUORUM:  # type: ignore[attr-defined]  # celery-types omits it
            return quorum_queue(name)
        return super().new_missing(name)


class QuorumAmqp(AMQP):
    """Celery's AMQP interface with our queues and connections: the extension point that Celery offers for them."""

    queues_cls = QuorumQueues
    Connection = PromptConnection
