"""``tasks.infer``: judge a downloaded video, or extract its features if its run says so, and record the result."""

from __future__ import annotations

from typing import Any

from celery import Task

from storage.records import ResultRow
from tasks import features, pipeline
from tasks.celery import app
from tasks.delivery.attempt import Step, run_step
from tasks.delivery.deferral import read
from tasks.messages import load_downloaded
from tasks.queues import TaskName
from tasks.resources import runtime


@app.task(name=TaskName.INFER.value, bind=True)
def infer(self: Task[..., Any], message: dict[str, Any]) -> str | None:
    """Judge or extract, record the row, then return the verdict.

    The message is acknowledged after the result is recorded.
    """
    downloaded = read(self, TaskName.INFER, message, load_downloaded)
    if downloaded is None:
        return None
    rt = runtime.current()

    def judge(attempt: int) -> ResultRow:
        is_judged = not rt.run(downloaded.row.run_id).spec.features
        return pipeline.infer(downloaded, attempt, rt) if is_judged else features.extract(downloaded, attempt, rt)

    return run_step(self, Step(TaskName.INFER, message, downloaded.row), judge).how
