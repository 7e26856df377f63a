"""Traces, one per video from its feed to its result. Without ``TAMIS_TRACING=otlp`` every function does nothing."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

from celery import signals

from tasks.settings import current

_spans: Any = None  # the module tasks.telemetry.otel, in a worker that traces


def install() -> None:
    """Begin to trace when a worker starts in this process, if its settings ask for it."""
    signals.worker_init.connect(_begin)


def describe(**fields: str | float) -> None:
    """Set attributes on the trace of the task that runs in this thread: its row and its result."""
    if _spans is not None:
        _spans.describe(fields)


def trace_per_video() -> AbstractContextManager[None]:
    """Begin a new trace for the video that is sent in the block; otherwise thousands would share the feed's."""
    return nullcontext() if _spans is None else _spans.new_trace()


def _begin(**_: Any) -> None:
    global _spans  # noqa: PLW0603 -- one per process, like OpenTelemetry's own globals
    settings = current()
    if settings.telemetry.tracing != "otlp":
        return
    from tasks.telemetry import otel

    provider = otel.begin(settings.node.name)
    signals.worker_shutdown.connect(lambda **_: provider.shutdown(), weak=False)
    _spans = otel
