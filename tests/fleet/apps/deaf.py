"""The standard app, which goes deaf a second after it is ready: alive and connected, it asks for nothing more."""

from __future__ import annotations

from typing import Any

from celery.signals import worker_ready

from tests.fleet.apps.standard import app

__all__ = ["app"]

DEAF_AFTER_SECONDS = 1.0


@worker_ready.connect
def go_deaf(sender: Any, **_: object) -> None:
    """Stop sending BRPOP, or unsubscribe."""
    is_redis = sender.connection.transport.driver_type == "redis"
    sender.timer.call_after(DEAF_AFTER_SECONDS, sender.hub.on_tick.clear if is_redis else sender.task_consumer.cancel)
