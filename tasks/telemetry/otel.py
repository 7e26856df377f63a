"""Spans by OpenTelemetry (the ``otel`` extra): only a worker that traces imports this file.

OpenTelemetry reads its own variables, such as ``OTEL_EXPORTER_OTLP_ENDPOINT`` and ``OTEL_TRACES_SAMPLER``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from opentelemetry import context, trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.instrumentation.celery import CeleryInstrumentor
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor


def begin(node: str) -> TracerProvider:
    """Record a span for each message that this process sends and each task that it runs; export in the background."""
    provider = TracerProvider(resource=Resource.create({"service.name": "tamis", "host.name": node}))
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    CeleryInstrumentor().instrument(tracer_provider=provider)  # type: ignore[no-untyped-call]  # it has no types
    return provider


def describe(fields: Mapping[str, str | float]) -> None:
    """Set ``tamis.<name>`` attributes on the current span of this thread."""
    trace.get_current_span().set_attributes({f"tamis.{name}": value for name, value in fields.items()})


@contextmanager
def new_trace() -> Iterator[None]:
    """Begin a new trace for messages that are sent in the block."""
    token = context.attach(context.Context())
    try:
        yield
    finally:
        context.detach(token)
