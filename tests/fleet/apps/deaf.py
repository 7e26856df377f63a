"""The standard app, which stops asking for messages once it is ready: it stays alive and connected."""

from __future__ import annotations

from typing import Any

from celery.signals import worker_ready

from tests.fleet.apps.standard import app, note

__all__ = ["app"]

DEAF_AFTER_SECONDS = 0.5  # after the event loop has started
POLL_SECONDS = 0.05


@worker_ready.connect
def stop_asking_soon(sender: Any, **_: object) -> None:
    """Stop sending BRPOP, or unsubscribe, and note when no request for a message is pending."""
    is_redis = sender.connection.transport.driver_type == "redis"
    channel = sender.task_consumer.channel

    def stop_asking() -> None:
        sender.hub.on_tick.clear() if is_redis else sender.task_consumer.cancel()
        note_when_deaf()

    def note_when_deaf() -> None:
        if is_redis and channel._in_poll:  # the last BRPOP is not answered yet; private to kombu, as in the gate
            sender.timer.call_after(POLL_SECONDS, note_when_deaf)
        else:
            note("deaf")

    sender.timer.call_after(DEAF_AFTER_SECONDS, stop_asking)
