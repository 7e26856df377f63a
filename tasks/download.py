"""``tasks.download``: bring a row's video to this node's spool."""

from __future__ import annotations

from typing import Any

from celery import Task

from tasks import pipeline, runtime
from tasks.app import app
from tasks.attempt import run_step
from tasks.messages import dump_downloaded, load_row
from tasks.queues import TaskName


@app.task(name=TaskName.DOWNLOAD.value, bind=True, max_retries=None)
def download(self: Task[..., Any], message: dict[str, Any]) -> dict[str, Any] | None:
    """Return the message of ``infer``; its ``node`` chooses the queue. None ends the chain: the row has its result."""
    row = load_row(message)
    return run_step(self, row, "download", lambda _attempt: dump_downloaded(pipeline.download(row, runtime.current())))
