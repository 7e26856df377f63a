"""Traces of a real fleet, as a collector receives them over OpenTelemetry's own protocol."""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from tasks.queues import TaskName, gpu_queue
from tests.fleet.light_nodes import ROWS, Nodes, light_nodes, submit_small_files
from tests.fleet.processes import wait_until
from tests.servers.wire import Request, Response, WireServer
from tests.valkey import ValkeyServer

STEPS = ("apply_async/tasks.download", "run/tasks.download", "apply_async/tasks.infer", "run/tasks.infer")


class Collector:
    """Keeps every span that it is sent."""

    def __init__(self) -> None:
        self.spans: list[Span] = []

    def __call__(self, request: Request) -> Response:
        body = gzip.decompress(request.body) if request.headers.get("content-encoding") == "gzip" else request.body
        sent = ExportTraceServiceRequest.FromString(body)
        self.spans += [span for one in sent.resource_spans for scope in one.scope_spans for span in scope.spans]
        return Response(headers={"content-type": "application/x-protobuf"})

    def named(self, name: str) -> list[Span]:
        """Return the spans of that name so far."""
        return [span for span in self.spans if span.name == name]


@pytest.fixture
def nodes(server: ValkeyServer, tmp_path: Path) -> Iterator[Nodes]:
    with light_nodes(server, tmp_path) as nodes:
        yield nodes


def attributes(span: Span) -> dict[str, object]:
    return {one.key: getattr(one.value, str(one.value.WhichOneof("value"))) for one in span.attributes}


def is_complete(collector: Collector, step: str) -> bool:
    return len(collector.named(step)) == ROWS


def test_every_video_has_one_trace_from_its_feed_to_its_result(nodes: Nodes) -> None:
    run, collector = submit_small_files(nodes), Collector()
    server = WireServer(collector)
    variables = {"TAMIS_TRACING": "otlp", "OTEL_EXPORTER_OTLP_ENDPOINT": server.url, "OTEL_BSP_SCHEDULE_DELAY": "200"}
    try:
        for role, *queues in (("results", "results", "control"), ("io", "io"), ("gpu", gpu_queue("n1"), "gpu")):
            nodes.start("n1", role, *queues, **variables)
        nodes.send(TaskName.FEED, run.run_id)

        for step in STEPS:
            wait_until(partial(is_complete, collector, step), f"{step} of each row", story=nodes.fleet.story)
        wait_until(lambda: len({span.trace_id for span in collector.spans}) > ROWS, "the feed's own trace")
    finally:
        nodes.fleet.close()
        server.close()

    for step in STEPS:
        assert {span.trace_id for span in collector.named(step)} == {
            span.trace_id for span in collector.named(STEPS[0])
        }
    assert len({span.trace_id for span in collector.named(STEPS[0])}) == ROWS
    by_ordinal = {attributes(span)["tamis.ordinal"]: attributes(span) for span in collector.named("run/tasks.infer")}
    assert sorted(by_ordinal) == list(range(ROWS))
    assert by_ordinal[3]["tamis.video"] == "v3"
    assert by_ordinal[3]["tamis.outcome"] == "ok"
    assert by_ordinal[3]["tamis.run"] == run.run_id
