"""``tasks.download``: download a row's video to this node's spool."""

from __future__ import annotations

from typing import Any

from celery import Task

from tasks import pipeline
from tasks.celery import app
from tasks.delivery.attempt import Step, run_step
from tasks.delivery.deferral import read
from tasks.messages import dump_downloaded, load_row
from tasks.queues import TaskName
from tasks.resources import runtime
from tasks.telemetry.event_text import Ended

SHOWN_CHARACTERS = 60  # of the next message, in log and events: to print it whole costs more than to send it


@app.task(name=TaskName.DOWNLOAD.value, bind=True, resultrepr_maxsize=SHOWN_CHARACTERS)
def download(self: Task[..., Any], message: dict[str, Any]) -> dict[str, Any] | str | None:
    """Return the message of ``infer``, whose ``node`` chooses the queue, or a text when the row's chain ends here."""
    row = read(self, TaskName.DOWNLOAD, message, load_row)
    if row is None:
        return None
    step = Step(TaskName.DOWNLOAD, message, row)
    answer = run_step(self, step, lambda _attempt: dump_downloaded(pipeline.download(row, runtime.current())))
    return answer.how if isinstance(answer, Ended) else answer
