"""How this fleet's workers behave: the settings, brought to the worker bootsteps."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable

from tasks import runtime
from tasks.queues import Queue, gpu_queue
from tasks.settings import Settings, current
from tasks.worker.install import WorkerConfig

DEPTH_SECONDS = 0.5  # how long a look at the queue's depth stays good


def worker_config() -> WorkerConfig:
    """Return the bootsteps' configuration; called only inside a worker process."""
    settings = current()
    return WorkerConfig(
        visibility_timeout_seconds=settings.visibility_timeout_seconds,
        hard_deadline_seconds=lambda _task_name: settings.task_deadline_seconds,
        open_runtime=open_for_queues,
        close_runtime=close,
        is_room=room_for_downloads(settings, node_queue_depth(settings)),
        gated_queues=frozenset({Queue.IO.value}),
        health_file=None,
        stall_seconds=settings.stale_shard_seconds,
    )


def open_for_queues(queues: Iterable[str]) -> None:
    """Open this process's runtime: models too, when it consumes a GPU queue."""
    runtime.set_current(runtime.open_runtime(current(), queues))


def close() -> None:
    """Close this process's runtime, if it came to be open."""
    opened = runtime.opened()
    if opened is not None:
        runtime.set_current(None)
        opened.close()


def room_for_downloads(settings: Settings, depth: Callable[[], int]) -> Callable[[], bool]:
    """Return the io workers' gate: open while the spool has room for one more video and the node's GPUs keep up."""
    most_waiting = settings.max_queue_size * settings.gpu_workers

    def is_room() -> bool:
        opened = runtime.opened()
        return opened is not None and opened.spool.has_room(settings.typical_video_bytes) and depth() < most_waiting

    return is_room


def node_queue_depth(settings: Settings) -> Callable[[], int]:
    """Return a function that says how many videos wait for this node's GPU workers; it looks twice a second at most."""
    looked_seconds, depth = float("-inf"), 0

    def look() -> int:
        nonlocal looked_seconds, depth
        if time.monotonic() - looked_seconds >= DEPTH_SECONDS:
            depth, looked_seconds = queue_depth(gpu_queue(settings.node)), time.monotonic()
        return depth

    return look


def queue_depth(queue: str) -> int:
    """Return how many messages wait in a queue; 0 for one that does not exist (yet)."""
    from tasks.app import app

    with app.connection_for_read() as connection:
        channel = connection.channel()
        try:
            return int(channel.queue_declare(queue=queue, passive=True).message_count)
        except connection.channel_errors:
            return 0
