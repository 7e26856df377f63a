"""Every metric that a process of ours may expose, with its labels: alerts, dashboard and docs are held to it."""

from __future__ import annotations

import re
from collections.abc import Iterator

from prometheus_client import CollectorRegistry, PlatformCollector, ProcessCollector
from prometheus_client.metrics_core import Metric

from tasks.metrics import fleet, process
from tasks.metrics.instruments import REGISTRY

OF_PROMETHEUS = {"instance", "job", "le"}  # labels that it adds, and a histogram's buckets'
SUFFIXES = {"counter": ("_total",), "histogram": ("_bucket", "_sum", "_count"), "gauge": ("",)}
SELECTOR = re.compile(r"\b((?:tamis|process|python)_\w+)(?:\{([^}]*)\})?")


def documented() -> dict[str, tuple[str, tuple[str, ...], str]]:
    """Name -> kind, labels and meaning of each metric of ours."""
    found = {metric.name: (metric.type, _labels(metric.name), metric.documentation) for metric in _instruments()}
    families = (*process.FAMILIES, *fleet.FAMILIES)
    return found | {one.name: ("counter" if one.is_counter else "gauge", one.labels, one.meaning) for one in families}


def series() -> dict[str, set[str]]:
    """Name of each series in a scrape -> the labels it may have."""
    ours = {
        f"{name}{suffix}": {*labels, *OF_PROMETHEUS}
        for name, (kind, labels, _) in documented().items()
        for suffix in SUFFIXES[kind]
    }
    return ours | {sample.name: OF_PROMETHEUS for metric in _clients() for sample in metric.samples}


def asked_for(query: str) -> Iterator[tuple[str, set[str]]]:
    """Yield each series that a query asks for, and the labels that it is chosen by."""
    for name, matchers in SELECTOR.findall(query):
        yield name, {matcher.group(1) for matcher in re.finditer(r"(\w+)\s*(?:=~|!~|!=|=)", _without_texts(matchers))}


def _without_texts(matchers: str) -> str:
    return re.sub(r'"[^"]*"', "", matchers)


def _instruments() -> list[Metric]:
    return [metric for metric in REGISTRY.collect() if metric.name.startswith("tamis_")]


def _labels(name: str) -> tuple[str, ...]:
    return tuple(getattr(REGISTRY._names_to_collectors[name], "_labelnames", ()))


def _clients() -> list[Metric]:
    """What the client library tells of any process."""
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    PlatformCollector(registry=registry)
    return list(registry.collect())
