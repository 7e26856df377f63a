"""How this fleet's workers behave: the settings, brought to the worker bootsteps."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

from tasks.queues import Queue
from tasks.settings import current
from tasks.worker import WorkerConfig

if TYPE_CHECKING:
    from celery import Celery

RETRY_SECONDS = 0.5  # between looks for retries whose time has come
RECLAIM_SECONDS = 60.0  # between looks for what killed processes left in this node's spool

_tickers: list[threading.Event] = []  # of this process; set, each ends its ticker


def worker_config(app: Celery) -> Callable[[], WorkerConfig]:
    """Return the maker of the bootsteps' configuration; it is called only inside a worker process."""

    def make() -> WorkerConfig:
        from tasks.backpressure import room_watcher

        settings = current()
        return WorkerConfig(
            visibility_timeout_seconds=settings.visibility_timeout_seconds,
            hard_deadline_seconds=lambda _task_name: settings.task_deadline_seconds,
            open_runtime=open_for_queues,
            close_runtime=close,
            is_room=room_watcher(app, settings),
            gated_queues=frozenset({Queue.IO.value}),
            health_file=settings.health_file,
            stall_seconds=settings.stall_seconds,
        )

    return make


def open_for_queues(queues: frozenset[str]) -> None:
    """Open this process's runtime, models too when it consumes a GPU queue, and start what it does beside its tasks.

    It says that it lives only now: while models warm up, its queue is better served by others.
    """
    from tasks import runtime
    from tasks.heartbeat import start_heartbeat
    from tasks.retry import send_due_quietly
    from tasks.worker.ticker import start_ticker

    opened = runtime.opener(current(), queues)
    runtime.set_current(opened)
    _tickers.append(start_heartbeat(opened.ledger, opened.settings, queues))
    if opened.tiers is not None:  # it spools, so it tidies: each node its own spool
        _tickers.append(start_ticker("reclaim", RECLAIM_SECONDS, lambda: runtime.reclaim_quietly(opened)))
    if Queue.CONTROL in queues:
        _tickers.append(start_ticker("retries", RETRY_SECONDS, lambda: send_due_quietly(opened.deferred)))


def close() -> None:
    """Close this process's runtime, if it came to be open."""
    from tasks import runtime

    while _tickers:
        _tickers.pop().set()
    opened = runtime.opened()
    if opened is not None:
        runtime.set_current(None)
        opened.close()
