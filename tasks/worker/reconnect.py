"""Keeps running tasks ours across a reconnect, instead of giving them to a second worker.

kombu gives back every unacknowledged message when a connection is lost, so each running task would run twice; and
if the broker is down at that moment, Celery 5.7.0 ends the worker with an AttributeError instead. With lease
renewal neither is needed: the leases outlive the connection, and the messages move to the next channel. Messages of
tasks that had not started lapse and are delivered again.
"""

from __future__ import annotations

from typing import Any

from celery import bootsteps
from kombu.transport import virtual

from tasks.worker.requests import has_started, live_requests


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
