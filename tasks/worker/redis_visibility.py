"""Renewal of Redis delivery times: a long task is not delivered twice, and a dead worker's is again within seconds.

On Redis a delivered message waits in ``unacked`` with its delivery time in ``unacked_index``. Every worker returns
messages older than the visibility timeout to their queues, its own and those of others. So each worker renews the
times of the messages it holds, until the task's hard deadline: the message of a hung task must become visible again.

kombu compares these wall-clock times between hosts: hosts need synchronised clocks.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from celery import bootsteps
from kombu.transport import virtual

from tasks.broker.side_channel import SideChannel
from tasks.worker.config import WorkerConfig, wiring_of
from tasks.worker.requests import Stopwatch, has_started, live_requests
from tasks.worker.ticker import start_ticker

if TYPE_CHECKING:
    from celery.worker.worker import WorkController

RENEWALS_PER_TIMEOUT = 3


def _delivered(consumer: Any) -> set[str]:
    """Return the delivery tags that the channel holds, also those of finished tasks whose acknowledgement is queued.

    ``QoS._delivered`` is private to kombu (pinned to 5.7, covered by tests/fleet/test_redis_visibility.py).
    During a drain, acknowledgements wait in it until the pool has ended, long after Celery has forgotten the request.
    """
    task_consumer = consumer.task_consumer
    if task_consumer is None:
        return set()
    messages = task_consumer.channel.qos._delivered  # noqa: SLF001 - see the docstring
    return set(messages)  # a copy: the event loop changes it meanwhile


@dataclass
class HeldMessages:
    """Decides for which delivery tags this process still renews the delivery time."""

    config: WorkerConfig
    stopwatch: Stopwatch[str] = field(default_factory=Stopwatch)

    def tags(self, consumer: Any) -> list[str]:
        """Return the tags to renew: those that wait for a thread, and those that run within their hard deadline."""
        requests = live_requests()
        waiting = {request.message.delivery_tag for request in requests if not has_started(request)}
        running = (_delivered(consumer) | {request.message.delivery_tag for request in requests}) - waiting
        ages = self.stopwatch.ages(running)
        return [*waiting, *(tag for tag in running if ages[tag] < self.config.hard_deadline_seconds)]


def _chunks(tags: list[str], size: int = 500) -> Iterator[list[str]]:
    return (tags[start : start + size] for start in range(0, len(tags), size))


def renew(channel: Any, tags: list[str]) -> None:
    """Set the delivery time of those ``tags`` to now that are still unacknowledged (``XX``)."""
    with channel.conn_or_acquire() as redis:
        for chunk in _chunks(tags):
            redis.zadd(channel.unacked_index_key, dict.fromkeys(chunk, time.time()), xx=True)


class VisibilityRenewer(bootsteps.StartStopStep):
    """Renews three times per visibility timeout until the process ends, during reconnects and drains too."""

    requires = ("tasks.worker.warmup:WarmUp",)

    def include_if(self, parent: WorkController) -> bool:
        """Return whether the broker is Redis: no other has a visibility timeout."""
        transport: Any = parent.app.connection_for_read().transport
        return bool(transport.driver_type == "redis")

    def start(self, parent: WorkController) -> None:
        """Start the renewing thread."""
        config, worker = wiring_of(parent.app).config, parent
        held, side = HeldMessages(config), SideChannel(parent.app)

        def tick() -> None:
            tags = held.tags(worker.consumer)  # type: ignore[attr-defined]  # set by the Consumer bootstep
            if tags:
                side.attempt(lambda channel: renew(channel, tags), "renewal of delivery times")

        start_ticker("visibility", config.visibility_timeout_seconds / RENEWALS_PER_TIMEOUT, tick)

    def stop(self, parent: WorkController) -> None:
        """Keep renewing: the pool finishes its tasks after this."""

    terminate = stop


def _running_tags() -> set[str]:
    return {request.message.delivery_tag for request in live_requests() if has_started(request)}


class Handover(bootsteps.StartStopStep):
    """Moves messages from a lost channel to the new one. Redis only: RabbitMQ delivers them again by itself.

    ``QoS._delivered`` is private to kombu (pinned to 5.7, covered by tests/fleet/test_worker_reconnect.py).
    """

    requires = ("celery.worker.consumer.tasks:Tasks",)

    def __init__(self, parent: Any, **options: Any) -> None:
        super().__init__(parent, **options)
        self._carried: list[Any] = []

    def include_if(self, parent: Any) -> bool:
        """Return whether the broker is Redis, which keeps unacknowledged messages when a connection ends."""
        return bool(parent.conninfo.transport.driver_type == "redis")

    def start(self, parent: Any) -> None:
        """Take over the carried messages; let this channel return none to their queues when its connection is lost."""
        channel = parent.task_consumer.channel
        channel.do_restore = False
        running = _running_tags()
        for message in self._carried:
            message.channel = channel  # its acknowledgement may be queued already
            if message.delivery_tag in running:
                # the base class's method: Redis' own would put messages that were restored meanwhile into ``unacked``
                virtual.QoS.append(channel.qos, message, message.delivery_tag)
        self._carried.clear()

    def stop(self, parent: Any) -> None:
        """Keep the messages for the next channel; on shutdown let the channel return them to their queues."""
        if parent.task_consumer is None:
            return
        channel = parent.task_consumer.channel
        if parent.blueprint.state == bootsteps.RUN:  # type: ignore[attr-defined]  # celery-types omits it
            self._carried.extend(channel.qos._delivered.values())  # noqa: SLF001 - see the class
        else:
            channel.do_restore = True
