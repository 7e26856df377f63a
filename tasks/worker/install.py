"""Puts our bootsteps into a Celery app."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from tasks.worker.config import WorkerConfig, wire

if TYPE_CHECKING:
    from celery import Celery

WORKER_STEPS = (
    "tasks.worker.stop:Drain",
    "tasks.worker.exposition:Exposition",
    "tasks.worker.warmup:WarmUp",
    "tasks.worker.redis_leases:LeaseRenewer",
    "tasks.worker.watchdog:Watchdog",
    "tasks.worker.stall:StallDetector",
    "tasks.worker.health:Heartbeat",
    "tasks.worker.rabbitmq:DrainHeartbeat",
)
CONSUMER_STEPS = (
    "tasks.worker.reconnect:Handover",
    "tasks.worker.intake:Gate",
    "tasks.worker.cordon:Cordon",
    "tasks.worker.health:PulseKeeper",
    "tasks.worker.celery_fixes:UnhurriedHeart",
    "tasks.worker.senseless:Senseless",
    "tasks.worker.rabbitmq:DeadLetters",
    "tasks.worker.rabbitmq:NoDelayedDelivery",
)


def install(app: Celery, config_factory: Callable[[], WorkerConfig]) -> None:
    """Add the worker's bootsteps to ``app``.

    ``config_factory`` is called once, in a worker process only; beat, clients and commands never call it, nor
    import the steps: they are named as strings.
    """
    wire(app, config_factory)
    app.steps["worker"].update(WORKER_STEPS)
    app.steps["consumer"].update(CONSUMER_STEPS)
