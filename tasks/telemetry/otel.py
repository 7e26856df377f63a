"""OpenTelemetry itself, of the ``otel`` extra: only a worker that traces imports this file.

Where traces go and how many are kept is its own business: ``OTEL_EXPORTER_OTLP_ENDPOINT``, ``OTEL_TRACES_SAMPLER``.
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
    """Send a span of everything that this process sends and runs from now on, in the background."""
    provider = TracerProvider(resource=Resource.create({"service.name": "tamis", "host.name": node}))
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    CeleryInstrumentor().instrument(tracer_provider=provider)  # type: ignore[no-untyped-call]  # it has no types
    return provider


def describe(fields: Mapping[str, str | float]) -> None:
    """Set ``tamis.<name>`` attributes of the span that runs in this thread."""
    trace.get_current_span().set_attributes({f"tamis.{name}": value for name, value in fields.items()})


@contextmanager
def anew() -> Iterator[None]:
    """What is sent in the block begins a trace of its own."""
    token = context.attach(context.Context())
    try:
        yield
    finally:
        context.detach(token)
