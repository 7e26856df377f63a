"""Lease renewal: a long task is not redelivered while its worker lives, and a dead worker's is within seconds.

On Redis a delivered message waits in ``unacked`` with its delivery time in ``unacked_index``. Any worker gives
back what is older than the visibility timeout, whoever holds it. So every holder keeps its times fresh, until
the task's hard deadline: a hung task must not be leased for ever.

The times are wall-clock seconds, compared between hosts (kombu does so): hosts need synchronised clocks.
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


def _delivered(consumer: Any) -> dict[str, str]:
    """Return delivery tag -> task name of what the channel holds, finished tasks with a queued ack included.

    ``QoS._delivered`` is private to kombu (pinned to 5.7, covered by tests/fleet/test_worker_lease.py). During a
    drain acks wait in it until the pool has ended, long after Celery has forgotten the request.
    """
    task_consumer = consumer.task_consumer
    if task_consumer is None:
        return {}
    messages = task_consumer.channel.qos._delivered  # noqa: SLF001 - see the docstring
    return {tag: message.headers.get("task", "") for tag, message in list(messages.items())}


@dataclass
class Lessee:
    """Decides which delivery tags this process still stands for."""

    config: WorkerConfig
    stopwatch: Stopwatch[str] = field(default_factory=Stopwatch)

    def tags(self, consumer: Any) -> list[str]:
        """Return the tags to renew: all that wait, and all that have been running within their hard deadline."""
        waiting, running = self._held(consumer)
        ages = self.stopwatch.ages(running)
        in_time = (tag for tag, name in running.items() if ages[tag] < self.config.hard_deadline_seconds(name))
        return [*waiting, *in_time]

    def _held(self, consumer: Any) -> tuple[set[str], dict[str, str]]:
        requests = {request.message.delivery_tag: request for request in live_requests()}
        waiting = {tag for tag, request in requests.items() if not has_started(request)}
        started = {tag: request.type for tag, request in requests.items() if tag not in waiting}
        delivered = {tag: name for tag, name in _delivered(consumer).items() if tag not in waiting}
        return waiting, delivered | started


def _chunks(tags: list[str], size: int = 500) -> Iterator[list[str]]:
    return (tags[start : start + size] for start in range(0, len(tags), size))


def renew(channel: Any, tags: list[str]) -> None:
    """Set the delivery time of ``tags`` to now, of those only that are still unacknowledged (``XX``)."""
    with channel.conn_or_acquire() as redis:
        for chunk in _chunks(tags):
            redis.zadd(channel.unacked_index_key, dict.fromkeys(chunk, time.time()), xx=True)


class LeaseRenewer(bootsteps.StartStopStep):
    """Renews three times per visibility timeout, through reconnects and through the drain, until the process ends."""

    requires = ("tasks.worker.warmup:WarmUp",)

    def include_if(self, parent: WorkController) -> bool:
        """Only Redis hands out messages on a visibility timeout."""
        transport: Any = parent.app.connection_for_read().transport
        return bool(transport.driver_type == "redis")

    def start(self, parent: WorkController) -> None:
        """Start the renewing thread."""
        config, worker = wiring_of(parent.app).config, parent
        lessee, side = Lessee(config), SideChannel(parent.app)

        def tick() -> None:
            tags = lessee.tags(worker.consumer)  # type: ignore[attr-defined]  # set by the Consumer bootstep
            if tags:
                side.attempt(lambda channel: renew(channel, tags), "lease renewal")

        start_ticker("lease", config.visibility_timeout_seconds / RENEWALS_PER_TIMEOUT, tick)

    def stop(self, parent: WorkController) -> None:
        """Keep renewing: the pool drains after this."""

    terminate = stop


def _running_tags() -> set[str]:
    return {request.message.delivery_tag for request in live_requests() if has_started(request)}


class Handover(bootsteps.StartStopStep):
    """Carries messages from the lost channel to the new one. Redis only: elsewhere the broker takes them back itself.

    ``QoS._delivered`` is private to kombu (pinned to 5.7, covered by tests/fleet/test_worker_reconnect.py).
    """

    requires = ("celery.worker.consumer.tasks:Tasks",)

    def __init__(self, parent: Any, **options: Any) -> None:
        super().__init__(parent, **options)
        self._carried: list[Any] = []

    def include_if(self, parent: Any) -> bool:
        """Only Redis keeps unacknowledged messages when a connection ends."""
        return bool(parent.conninfo.transport.driver_type == "redis")

    def start(self, parent: Any) -> None:
        """Take over the carried messages, and let nothing be given back when this connection is lost in turn."""
        channel = parent.task_consumer.channel
        channel.do_restore = False
        running = _running_tags()
        for message in self._carried:
            message.channel = channel  # its acknowledgement may be queued already
            if message.delivery_tag in running:
                # the base class's append: Redis' own would put back into ``unacked`` what has lapsed meanwhile
                virtual.QoS.append(channel.qos, message, message.delivery_tag)
        self._carried.clear()

    def stop(self, parent: Any) -> None:
        """Keep the messages for the next channel; on shutdown allow their giving back."""
        if parent.task_consumer is None:
            return
        channel = parent.task_consumer.channel
        if parent.blueprint.state == bootsteps.RUN:  # type: ignore[attr-defined]  # celery-types omits it
            self._carried.extend(channel.qos._delivered.values())  # noqa: SLF001 - see the class
        else:
            channel.do_restore = True
