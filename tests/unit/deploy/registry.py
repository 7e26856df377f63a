"""The series that a scrape may hold, with their labels; alerts and dashboard are checked against them."""

from __future__ import annotations

import re
from collections.abc import Iterator

from prometheus_client import CollectorRegistry, PlatformCollector, ProcessCollector

from tasks.telemetry.metrics.catalogue import catalogue

OF_PROMETHEUS = {"instance", "job", "le"}  # labels that it adds, and a histogram's buckets'
SELECTOR = re.compile(r"\b((?:tamis|process|python)_\w+)(?:\{([^}]*)\})?")


def series() -> dict[str, set[str]]:
    """Return name -> the labels that the series may have."""
    ours = {name: {*entry.labels, *OF_PROMETHEUS} for entry in catalogue() for name in entry.series}
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    PlatformCollector(registry=registry)
    return ours | {sample.name: OF_PROMETHEUS for metric in registry.collect() for sample in metric.samples}


def asked_for(query: str) -> Iterator[tuple[str, set[str]]]:
    """Yield each series of a query with the labels that select it."""
    for name, matchers in SELECTOR.findall(query):
        without_texts = re.sub(r'"[^"]*"', "", matchers)
        yield name, set(re.findall(r"(\w+)\s*(?:=~|!~|!=|=)", without_texts))
