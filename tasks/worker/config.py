"""What the worker's bootsteps are told, and what they tell each other."""

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

    ``hard_deadline_seconds`` maps any task name to the seconds after which it counts as hung.
    ``open_runtime`` gets the names of the consumed queues and runs before the first message is taken;
    ``close_runtime`` runs once after the last task, also when opening failed.
    ``is_room`` is asked about four times a second on the event loop, so it must answer at once.
    ``collectors`` gets the names of the consumed queues; what it returns is served at ``metrics_address``.
    """

    visibility_timeout_seconds: float
    hard_deadline_seconds: Callable[[str], float]
    open_runtime: Callable[[frozenset[str]], None] | None = None
    close_runtime: Callable[[], None] | None = None
    is_room: Callable[[], bool] | None = None
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
    """One app's configuration, made on first use, and the state its bootsteps share."""

    make_config: Callable[[], WorkerConfig]
    pulse: Pulse = field(default_factory=Pulse)

    @cached_property
    def config(self) -> WorkerConfig:
        """The configuration; only a worker process asks for it."""
        return self.make_config()


_wirings: WeakKeyDictionary[Celery, Wiring] = WeakKeyDictionary()


def wire(app: Celery, make_config: Callable[[], WorkerConfig]) -> None:
    """Remember how to configure the workers of ``app``."""
    _wirings[app] = Wiring(make_config)


def wiring_of(app: Celery) -> Wiring:
    """Return what ``install`` was given for ``app``. KeyError if it was never called."""
    return _wirings[app]


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
    "tasks.worker.redis_leases:Handover",
    "tasks.worker.intake:Gate",
    "tasks.worker.intake:Cordon",
    "tasks.worker.health:PulseKeeper",
    "tasks.worker.celery_fixes:UnhurriedHeart",
    "tasks.worker.celery_fixes:Senseless",
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
