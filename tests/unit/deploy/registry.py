"""Every series that a scrape of our processes may hold, with its labels: alerts and dashboard are held to it."""

from __future__ import annotations

import re
from collections.abc import Iterator

from prometheus_client import CollectorRegistry, PlatformCollector, ProcessCollector

from tasks.telemetry.metrics.catalogue import catalogue

OF_PROMETHEUS = {"instance", "job", "le"}  # labels that it adds, and a histogram's buckets'
SELECTOR = re.compile(r"\b((?:tamis|process|python)_\w+)(?:\{([^}]*)\})?")


def series() -> dict[str, set[str]]:
    """Name -> the labels that it may have."""
    ours = {name: {*entry.labels, *OF_PROMETHEUS} for entry in catalogue() for name in entry.series}
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    PlatformCollector(registry=registry)
    return ours | {sample.name: OF_PROMETHEUS for metric in registry.collect() for sample in metric.samples}


def asked_for(query: str) -> Iterator[tuple[str, set[str]]]:
    """Yield each series that a query asks for, and the labels that it is chosen by."""
    for name, matchers in SELECTOR.findall(query):
        without_texts = re.sub(r'"[^"]*"', "", matchers)
        yield name, set(re.findall(r"(\w+)\s*(?:=~|!~|!=|=)", without_texts))
