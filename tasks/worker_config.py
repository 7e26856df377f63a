"""How this fleet's workers behave: the settings, brought to the worker bootsteps."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from tasks.queues import Queue
from tasks.settings import current
from tasks.worker import WorkerConfig

if TYPE_CHECKING:
    from celery import Celery


def worker_config(app: Celery) -> Callable[[], WorkerConfig]:
    """Return the maker of the bootsteps' configuration; it is called only inside a worker process."""

    def make() -> WorkerConfig:
        from tasks.backpressure import watch_room

        settings = current()
        return WorkerConfig(
            visibility_timeout_seconds=settings.visibility_timeout_seconds,
            hard_deadline_seconds=lambda _task_name: settings.task_deadline_seconds,
            open_runtime=open_for_queues,
            close_runtime=close,
            is_room=watch_room(app, settings),
            gated_queues=frozenset({Queue.IO.value}),
            stall_seconds=settings.stall_seconds,
        )

    return make


def open_for_queues(queues: Iterable[str]) -> None:
    """Open this process's runtime: models too, when it consumes a GPU queue."""
    from tasks import runtime

    runtime.set_current(runtime.opener(current(), queues))


def close() -> None:
    """Close this process's runtime, if it came to be open."""
    from tasks import runtime

    opened = runtime.opened()
    if opened is not None:
        runtime.set_current(None)
        opened.close()
