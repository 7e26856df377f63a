"""The Celery application, ``celery -A tasks …`` or ``tamis …``, and how its workers behave."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from celery import Celery

from storage.ledger import Ledger
from tasks.queues import Queue
from tasks.settings import Settings, current
from tasks.telemetry import logs, tracing
from tasks.telemetry.metrics import waits
from tasks.worker import insight, intake  # noqa: F401 -- importing them registers their remote-control commands
from tasks.worker.config import WorkerConfig, install, wiring_of

if TYPE_CHECKING:
    from prometheus_client.registry import Collector

RETRY_SECONDS = 0.5  # between looks for retries whose time has come
SCRAPE_SECONDS = 2.0  # that a scrape waits for the ledger
RECLAIM_SECONDS = 60.0  # between looks for what killed processes left in this node's spool

app = Celery("tasks", config_source="celeryconfig", amqp="tasks.broker.rabbitmq:QuorumAmqp")

_tickers: list[threading.Event] = []  # of this process; set, each ends its ticker


def worker_config() -> WorkerConfig:
    """Return what the bootsteps are told; it is called only inside a worker process."""
    settings = current()
    return WorkerConfig(
        visibility_timeout_seconds=settings.broker.visibility_timeout_seconds,
        hard_deadline_seconds=lambda _task_name: settings.delivery.task_deadline_seconds,
        open_runtime=open_for_queues,
        close_runtime=close,
        is_room=intake.room_watcher(app, settings),
        gated_queues=frozenset({Queue.IO.value}),
        health_file=settings.telemetry.health_file,
        metrics_address=metrics_address(settings),
        collectors=collectors,
        stall_seconds=settings.delivery.stall_seconds,
    )


def metrics_address(settings: Settings) -> tuple[str, int] | None:
    """Where this process serves its metrics, if it does."""
    return (
        None
        if settings.telemetry.metrics_port is None
        else (settings.telemetry.metrics_host, settings.telemetry.metrics_port)
    )


def collectors(queues: frozenset[str]) -> list[Collector]:
    """What a worker of these queues looks at when it is scraped; the control workers answer for the fleet."""
    from tasks.resources import runtime
    from tasks.resources.redis import ledger_client
    from tasks.telemetry.metrics.fleet import FleetCollector
    from tasks.telemetry.metrics.process import ProcessCollector

    chosen: list[Collector] = [ProcessCollector(runtime.opened, wiring_of(app).pulse)]
    if Queue.CONTROL in queues:
        chosen.append(FleetCollector(Ledger(ledger_client(current(), patience_seconds=SCRAPE_SECONDS)), app))
    return chosen


def open_for_queues(queues: frozenset[str]) -> None:
    """Open this process's runtime, models too when it consumes a GPU queue, and start what it does beside its tasks.

    It says that it lives only now: while models warm up, its queue is better served by others.
    """
    from tasks.delivery.deferral import send_due_quietly
    from tasks.resources import runtime
    from tasks.worker.heartbeat import start_heartbeat
    from tasks.worker.ticker import start_ticker

    opened = runtime.opener(current(), queues)
    runtime.set_current(opened)
    pulse = wiring_of(app).pulse
    heartbeat = start_heartbeat(
        opened.ledger, opened.settings, queues, worker=opened.worker, is_serving=lambda: not pulse.is_cordoned
    )
    _tickers.append(heartbeat)
    if opened.tiers is not None:  # it spools, so it tidies: each node its own spool
        _tickers.append(start_ticker("reclaim", RECLAIM_SECONDS, lambda: runtime.reclaim_quietly(opened)))
    if Queue.CONTROL in queues:
        _tickers.append(start_ticker("retries", RETRY_SECONDS, lambda: send_due_quietly(opened.deferred, app)))


def close() -> None:
    """Close this process's runtime, if it came to be open."""
    from tasks.resources import runtime

    while _tickers:
        _tickers.pop().set()
    opened = runtime.opened()
    if opened is not None:
        runtime.set_current(None)
        opened.close()


install(app, worker_config)
waits.install()
logs.install()
tracing.install()
