"""Traces, if asked for: one per video, from the moment it is fed to its result. Nothing at all otherwise."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

from celery import signals

from tasks.settings import current

_spans: Any = None  # the module tasks.telemetry.otel, in a worker that traces


def install() -> None:
    """Have this process trace, if it turns out to be a worker whose settings say so."""
    signals.worker_init.connect(_begin)


def describe(**fields: str | float) -> None:
    """Tell the trace of the task that runs here which row it is about, and how it went."""
    if _spans is not None:
        _spans.describe(fields)


def each_anew() -> AbstractContextManager[None]:
    """Begin a trace for the video that is sent in the block, lest thousands of them share the feed's."""
    return nullcontext() if _spans is None else _spans.anew()


def _begin(**_: Any) -> None:
    global _spans  # noqa: PLW0603 -- one per process, as OpenTelemetry's own are
    settings = current()
    if settings.telemetry.tracing != "otlp":
        return
    from tasks.telemetry import otel

    provider = otel.begin(settings.node.name)
    signals.worker_shutdown.connect(lambda **_: provider.shutdown(), weak=False)
    _spans = otel
