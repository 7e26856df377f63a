"""The names that travel: queues and tasks. Data only; beat and celeryconfig read it too."""

from __future__ import annotations

from enum import StrEnum
from typing import Any


class Queue(StrEnum):
    """The fleet's queues. ``gpu.<node>`` queues come on top: one for each node, named by :func:`gpu_queue`."""

    CONTROL = "control"  # feed and chores: short tasks that move the run along
    IO = "io"  # downloads
    GPU = "gpu"  # judging, by whichever worker is free
    RESULTS = "results"  # writing shards to the output table


class TaskName(StrEnum):
    """Every task of the fleet."""

    FEED = "tasks.feed"
    DOWNLOAD = "tasks.download"
    INFER = "tasks.infer"
    WRITE_SHARD = "tasks.write_shard"
    TOP_UP = "tasks.chores.top_up"
    SWEEP = "tasks.chores.sweep"
    RESCUE = "tasks.chores.rescue"
    INGEST = "tasks.chores.ingest"


QUEUE_OF: dict[TaskName, Queue] = {
    TaskName.FEED: Queue.CONTROL,
    TaskName.DOWNLOAD: Queue.IO,
    TaskName.INFER: Queue.GPU,
    TaskName.WRITE_SHARD: Queue.RESULTS,
    TaskName.TOP_UP: Queue.CONTROL,
    TaskName.SWEEP: Queue.CONTROL,
    TaskName.RESCUE: Queue.CONTROL,
    TaskName.INGEST: Queue.CONTROL,
}


def gpu_queue(node: str) -> str:
    """Return the queue of the GPU workers that share ``node``'s spool."""
    return f"{Queue.GPU}.{node}"


def is_gpu_queue(name: str) -> bool:
    """Say whether workers of this queue judge videos, so must have models warm."""
    return name == Queue.GPU or name.startswith(f"{Queue.GPU}.")


def route(name: str, args: Any, *_: Any, **__: Any) -> dict[str, str] | None:
    """Choose the queue for a task; Celery calls it whenever a message is published, also for the next step of a chain.

    ``infer`` goes to the node whose spool already holds the file: the download's return value names it.
    """
    try:
        task_name = TaskName(name)
    except ValueError:
        return None  # one of Celery's own tasks
    if task_name is TaskName.INFER and args and isinstance(args[0], dict) and args[0].get("node"):
        return {"queue": gpu_queue(args[0]["node"])}
    return {"queue": QUEUE_OF[task_name].value}
