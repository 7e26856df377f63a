"""The fleet's Celery app with a judge that takes no time: ``celery -A bench.null.app worker …``."""

from __future__ import annotations

import os
from collections.abc import Iterable

import tasks.resources.runtime
from bench.null.judge import SECONDS, NullJudge
from inference.manifest import load_manifest
from tasks.celery import app
from tasks.queues import Queue, is_gpu_queue
from tasks.resources.runtime import Runtime, open_runtime
from tasks.settings import Settings

__all__ = ["app"]


def open_null_runtime(settings: Settings, queues: Iterable[str]) -> Runtime:
    """Open the runtime without models."""
    names = set(queues)
    judges = any(is_gpu_queue(queue) for queue in names)
    opened = open_runtime(settings, {Queue.IO.value} if judges else names)
    if judges:
        seconds = float(os.environ.get(SECONDS, "0"))
        opened.judge = NullJudge(load_manifest(settings.models.manifest), seconds)  # type: ignore[assignment]  # the same shape
    return opened


tasks.resources.runtime.opener = open_null_runtime
