"""The waiting time of messages: a stamp is set when a message is sent and read when its task starts."""

from __future__ import annotations

import time
from typing import Any

from celery import signals

from tasks.telemetry.metrics.instruments import QUEUE_WAIT

SENT_AT = "tamis_sent_at"
"""Header with the time of sending by the sender's clock, in seconds since the epoch; it assumes clocks that agree."""


def install() -> None:
    """Stamp messages that this process sends, and read the stamps of those that it runs."""
    signals.before_task_publish.connect(_stamp)
    signals.task_prerun.connect(_observe)


def _stamp(headers: dict[str, Any] | None = None, **_: Any) -> None:
    if headers is not None:
        headers.setdefault(SENT_AT, time.time())


def _observe(task: Any = None, **_: Any) -> None:
    sent_at = task.request.get(SENT_AT)
    if isinstance(sent_at, int | float):
        QUEUE_WAIT.labels(task.name).observe(max(0.0, time.time() - sent_at))
