"""Names of queues and tasks, and the queue of each task. Data only: beat and celeryconfig import it too."""

from __future__ import annotations

from enum import StrEnum
from typing import Any


class Queue(StrEnum):
    """The fleet's shared queues. Each node also has a queue ``gpu.<node>``, named by :func:`gpu_queue`."""

    CONTROL = "control"  # feed and periodic tasks, all short
    IO = "io"  # downloads
    GPU = "gpu"  # judging, on any node
    RESULTS = "results"  # writing shards to the output table


class TaskName(StrEnum):
    """The fleet's tasks."""

    FEED = "tasks.feed"
    DOWNLOAD = "tasks.download"
    INFER = "tasks.infer"
    WRITE_SHARD = "tasks.write_shard"
    NOTE_RUN = "tasks.note_run"
    TOP_UP = "tasks.chores.top_up"
    SWEEP = "tasks.chores.sweep"
    RESCUE = "tasks.chores.rescue"
    INGEST = "tasks.chores.ingest"
    PROFILE = "tasks.profile"


PERIOD_HEADER = "tamis_period_seconds"
"""Header of a periodic task's message: the fleet runs the task once in this time, however many beats send it."""

QUEUE_OF: dict[TaskName, Queue] = {
    TaskName.FEED: Queue.CONTROL,
    TaskName.DOWNLOAD: Queue.IO,
    TaskName.INFER: Queue.GPU,
    TaskName.WRITE_SHARD: Queue.RESULTS,
    TaskName.NOTE_RUN: Queue.RESULTS,
    TaskName.TOP_UP: Queue.CONTROL,
    TaskName.SWEEP: Queue.CONTROL,
    TaskName.RESCUE: Queue.CONTROL,
    TaskName.INGEST: Queue.CONTROL,
    TaskName.PROFILE: Queue.GPU,  # `tamis profile --on` names a node's queue
}


def gpu_queue(node: str) -> str:
    """Return the queue of the GPU workers that share ``node``'s spool."""
    return f"{Queue.GPU}.{node}"


def is_gpu_queue(name: str) -> bool:
    """Return whether workers of this queue judge videos, and so need models."""
    return name == Queue.GPU or name.startswith(f"{Queue.GPU}.")


def route(name: str, args: Any, *_: Any, **__: Any) -> dict[str, str] | None:
    """Return the queue of a task; Celery calls this for every message, also for the next step of a chain.

    ``infer`` goes to the node whose spool holds the file: the return value of ``download`` names it.
    """
    try:
        task_name = TaskName(name)
    except ValueError:
        return None  # one of Celery's own tasks
    if task_name is TaskName.INFER and args and isinstance(args[0], dict) and args[0].get("node"):
        return {"queue": gpu_queue(args[0]["node"])}
    return {"queue": QUEUE_OF[task_name].value}
