"""Configuration of the worker's bootsteps, and the state that they share."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

from tasks.telemetry.pulse import Pulse

if TYPE_CHECKING:
    from celery import Celery
    from prometheus_client.registry import Collector


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerConfig:
    """Limits and hooks of one worker process.

    A task that runs for ``hard_deadline_seconds`` counts as hung.
    ``open_runtime`` gets the names of the consumed queues and runs before the first message is taken;
    ``close_runtime`` runs once after the last task, also when opening failed.
    ``has_room`` is called about four times a second on the event loop, so it must return at once.
    ``collectors`` gets the names of the consumed queues; its collectors are served at ``metrics_address``.
    """

    visibility_timeout_seconds: float
    hard_deadline_seconds: float
    open_runtime: Callable[[frozenset[str]], None] | None = None
    close_runtime: Callable[[], None] | None = None
    has_room: Callable[[], bool] | None = None
    gated_queues: frozenset[str] = frozenset()
    health_file: Path | None = None
    metrics_address: tuple[str, int] | None = None
    collectors: Callable[[frozenset[str]], Iterable[Collector]] | None = None
    stall_seconds: float = 120.0
    frozen_seconds: float = 120.0

    def __post_init__(self) -> None:
        for name in ("visibility_timeout_seconds", "stall_seconds", "frozen_seconds"):
            if getattr(self, name) <= 0:
                raise ValueError(f"WorkerConfig.{name} is {getattr(self, name)!r}: it must be more than 0")


@dataclass
class Wiring:
    """Configuration of an app, made at first use, and the state that its bootsteps share."""

    make_config: Callable[[], WorkerConfig]
    pulse: Pulse = field(default_factory=Pulse)

    @cached_property
    def config(self) -> WorkerConfig:
        """The configuration; read only in a worker process."""
        return self.make_config()


_wirings: WeakKeyDictionary[Celery, Wiring] = WeakKeyDictionary()


def wire(app: Celery, make_config: Callable[[], WorkerConfig]) -> None:
    """Store the function that configures the workers of ``app``."""
    _wirings[app] = Wiring(make_config)


def wiring_of(app: Celery) -> Wiring:
    """Return configuration and state of ``app``; KeyError if ``install`` was never called for it."""
    return _wirings[app]


WORKER_STEPS = (
    "tasks.worker.stop:Drain",
    "tasks.worker.liveness.exposition:Exposition",
    "tasks.worker.warmup:WarmUp",
    "tasks.worker.redis_visibility:VisibilityRenewer",
    "tasks.worker.liveness.watchdog:Watchdog",
    "tasks.worker.liveness.stall:StallDetector",
    "tasks.worker.liveness.health:HealthFile",
    "tasks.worker.rabbitmq:DrainHeartbeat",
)
CONSUMER_STEPS = (
    "tasks.worker.redis_visibility:Handover",
    "tasks.worker.intake:Gate",
    "tasks.worker.intake:Cordon",
    "tasks.worker.liveness.health:PulseKeeper",
    "tasks.worker.celery_fixes:NonBlockingHeartbeat",
    "tasks.worker.celery_fixes:BatchedEvents",
    "tasks.worker.celery_fixes:DropMalformed",
    "tasks.worker.rabbitmq:DeadLetters",
    "tasks.worker.rabbitmq:NoDelayedDelivery",
)


def install(app: Celery, config_factory: Callable[[], WorkerConfig]) -> None:
    """Add the worker's bootsteps to ``app``.

    ``config_factory`` is called once, in a worker process only. Beat, clients and commands neither call it nor import
    the steps, which are named as strings.
    """
    wire(app, config_factory)
    app.steps["worker"].update(WORKER_STEPS)
    app.steps["consumer"].update(CONSUMER_STEPS)
