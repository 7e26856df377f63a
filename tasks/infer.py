"""``tasks.infer``: judge a downloaded video, or extract its features if its run says so, and record the result."""

from __future__ import annotations

from typing import Any

from celery import Task

from tasks import features, pipeline
from tasks.celery import app
from tasks.delivery.attempt import Step, record, run_step
from tasks.delivery.deferral import read
from tasks.messages import load_downloaded
from tasks.queues import TaskName
from tasks.resources import runtime
from tasks.telemetry.event_text import Ended, verdict


@app.task(name=TaskName.INFER.value, bind=True)
def infer(self: Task[..., Any], message: dict[str, Any]) -> str | None:
    """Judge or extract, record the row, then return the verdict.

    The message is acknowledged after the result is recorded.
    """
    downloaded = read(self, TaskName.INFER, message, load_downloaded)
    if downloaded is None:
        return None
    rt = runtime.current()

    def judge_and_record(attempt: int) -> str:
        is_judged = not rt.run(downloaded.row.run_id).spec.features
        result = pipeline.infer(downloaded, attempt, rt) if is_judged else features.extract(downloaded, attempt, rt)
        record(downloaded.row, result, rt, app)
        return verdict(result)

    answer = run_step(self, Step(TaskName.INFER, message, downloaded.row), judge_and_record)
    return answer.how if isinstance(answer, Ended) else answer
