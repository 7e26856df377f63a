"""How this fleet's workers behave: the settings, brought to the worker bootsteps."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from tasks.queues import Queue
from tasks.settings import current
from tasks.worker import WorkerConfig

if TYPE_CHECKING:
    from celery import Celery

RETRY_SECONDS = 0.5  # between looks for retries whose time has come


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
            stall_seconds=settings.stall_seconds,
        )

    return make


def open_for_queues(queues: frozenset[str]) -> None:
    """Open this process's runtime: models too, when it consumes a GPU queue. Control workers also send due retries."""
    from tasks import runtime
    from tasks.retry import send_due_quietly
    from tasks.worker.ticker import start_ticker

    opened = runtime.opener(current(), queues)
    runtime.set_current(opened)
    if Queue.CONTROL in queues:
        start_ticker("retries", RETRY_SECONDS, lambda: send_due_quietly(opened.deferred))


def close() -> None:
    """Close this process's runtime, if it came to be open."""
    from tasks import runtime

    opened = runtime.opened()
    if opened is not None:
        runtime.set_current(None)
        opened.close()
