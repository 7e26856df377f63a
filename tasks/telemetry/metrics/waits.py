"""How long messages wait: stamped when sent, read when their task starts."""

from __future__ import annotations

import time
from typing import Any

from celery import signals

from tasks.telemetry.metrics.instruments import QUEUE_WAIT

SENT_AT = "tamis_sent_at"
"""Header with the sender's clock, seconds since the epoch. Fleets keep their clocks together to well under a second."""


def install() -> None:
    """Stamp what this process sends, and read the stamps of what it runs."""
    signals.before_task_publish.connect(_stamp)
    signals.task_prerun.connect(_observe)


def _stamp(headers: dict[str, Any] | None = None, **_: Any) -> None:
    if headers is not None:
        headers.setdefault(SENT_AT, time.time())


def _observe(task: Any = None, **_: Any) -> None:
    sent_at = task.request.get(SENT_AT)
    if isinstance(sent_at, int | float):
        QUEUE_WAIT.labels(task.name).observe(max(0.0, time.time() - sent_at))
