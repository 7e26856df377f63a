"""``tasks.download``: bring a row's video to this node's spool."""

from __future__ import annotations

from typing import Any

from celery import Task

from tasks import pipeline, runtime
from tasks.app import app
from tasks.attempt import Step, run_step
from tasks.messages import dump_downloaded, load_row
from tasks.queues import TaskName
from tasks.refused import read


@app.task(name=TaskName.DOWNLOAD.value, bind=True)
def download(self: Task[..., Any], message: dict[str, Any]) -> dict[str, Any] | None:
    """Return the message of ``infer``; its ``node`` chooses the queue. None ends the chain: see :func:`run_step`."""
    row = read(self, TaskName.DOWNLOAD, message, load_row)
    if row is None:
        return None
    step = Step(TaskName.DOWNLOAD, message, row)
    return run_step(self, step, lambda _attempt: dump_downloaded(pipeline.download(row, runtime.current())))
