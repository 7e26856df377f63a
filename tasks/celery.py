"""The Celery application (``celery -A tasks …``, ``tamis …``) and the configuration of its workers."""

from __future__ import annotations

import signal
import threading
from typing import TYPE_CHECKING, NoReturn

from celery import Celery
from celery.signals import beat_init

from storage.ledger import HostReports, Ledger, WorkerReports
from tasks.queues import Queue
from tasks.settings import Settings, current
from tasks.telemetry import logs, tracing
from tasks.telemetry.metrics import waits
from tasks.worker import insight, intake, trace  # noqa: F401 -- importing them registers their remote-control commands
from tasks.worker.celery_fixes import keep_redis_clients
from tasks.worker.config import WorkerConfig, install, wiring_of

if TYPE_CHECKING:
    from celery.beat import Service
    from prometheus_client.registry import Collector

RETRY_SECONDS = 0.5  # between checks for retries that are due
SCRAPE_SECONDS = 2.0  # longest wait of a scrape for the ledger
RECLAIM_SECONDS = 60.0  # between checks of this node's spool for leftovers of killed processes

app = Celery("tasks", config_source="celeryconfig", amqp="tasks.broker.rabbitmq:QuorumAmqp")

_tickers: list[threading.Event] = []  # of this process; setting an event ends its ticker


def worker_config() -> WorkerConfig:
    """Return the bootsteps' configuration; called only inside a worker process."""
    settings = current()
    return WorkerConfig(
        visibility_timeout_seconds=settings.broker.visibility_timeout_seconds,
        hard_deadline_seconds=settings.delivery.task_deadline_seconds,
        open_runtime=open_for_queues,
        close_runtime=close,
        has_room=intake.room_checker(app, settings),
        gated_queues=frozenset({Queue.IO.value}),
        health_file=settings.telemetry.health_file,
        metrics_address=metrics_address(settings),
        collectors=collectors,
        stall_seconds=settings.delivery.stall_seconds,
    )


def metrics_address(settings: Settings) -> tuple[str, int] | None:
    """Return host and port where this process serves its metrics; None when no port is set."""
    return (
        None
        if settings.telemetry.metrics_port is None
        else (settings.telemetry.metrics_host, settings.telemetry.metrics_port)
    )


def collectors(queues: frozenset[str]) -> list[Collector]:
    """Return the metrics collectors of a worker of these queues; control workers also report for the whole fleet."""
    from tasks.resources import runtime
    from tasks.resources.redis import ledger_client
    from tasks.telemetry.metrics.fleet import FleetCollector
    from tasks.telemetry.metrics.process import ProcessCollector

    chosen: list[Collector] = [ProcessCollector(runtime.opened, wiring_of(app).pulse)]
    if Queue.CONTROL in queues:
        chosen.append(FleetCollector(Ledger(ledger_client(current(), patience_seconds=SCRAPE_SECONDS)), app))
    return chosen


def open_for_queues(queues: frozenset[str]) -> None:
    """Open this process's runtime, with models when it consumes a GPU queue, and start its background threads.

    The worker reports its queues as served only after that: while its models warm up, other workers serve them.
    """
    from tasks.delivery.deferral import send_due_or_log
    from tasks.resources import runtime
    from tasks.resources.redis import ledger_client
    from tasks.worker.host_checks import HostChecks, start_host_checks
    from tasks.worker.liveness.health import start_presence_reports, start_state_reports
    from tasks.worker.ticker import start_ticker

    settings, pulse = current(), wiring_of(app).pulse
    states, worker = WorkerReports(ledger_client(settings)), pulse.worker or settings.node.name
    checks = HostChecks(HostReports(ledger_client(settings)), settings, worker)
    checks.check_start()
    _tickers.append(start_host_checks(checks))
    warming = start_state_reports(states, worker, "warming", queues, is_in_state=lambda: True)
    try:
        opened = runtime.opener(settings, queues)
    finally:
        warming.set()
    opened.name = worker
    runtime.set_current(opened)
    _tickers.append(start_state_reports(states, worker, "drained", queues, is_in_state=lambda: pulse.is_cordoned))
    reports = start_presence_reports(
        opened.ledger, opened.settings, queues, worker=opened.worker, is_serving=lambda: not pulse.is_cordoned
    )
    _tickers.append(reports)
    if opened.tiers is not None:  # a worker that fills the node's spool also cleans it
        _tickers.append(start_ticker("reclaim", RECLAIM_SECONDS, lambda: runtime.reclaim_or_log(opened)))
    if Queue.CONTROL in queues:
        _tickers.append(start_ticker("retries", RETRY_SECONDS, lambda: send_due_or_log(opened.deferred, app)))


def close() -> None:
    """Close this process's runtime, if it was opened."""
    from tasks.resources import runtime

    while _tickers:
        _tickers.pop().set()
    opened = runtime.opened()
    if opened is not None:
        runtime.set_current(None)
        opened.close()


@beat_init.connect
def end_beat_on_signals(sender: Service, **_: object) -> None:
    """Make SIGTERM and SIGINT end a beat wherever they interrupt it.

    Celery's own handler only raises SystemExit; a library's bare ``except`` around a send would swallow it, and the
    beat would run on until it is killed. This one also ends the beat's loop.
    """

    def end(_signum: int, _frame: object) -> NoReturn:
        sender.stop()
        raise SystemExit

    signal.signal(signal.SIGTERM, end)
    signal.signal(signal.SIGINT, end)


install(app, worker_config)
keep_redis_clients()
waits.install()
logs.install()
tracing.install()
