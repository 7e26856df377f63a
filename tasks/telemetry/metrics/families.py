"""The shape of what is looked up at a scrape."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

Labels = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Family:
    """One metric's name, meaning and labels."""

    name: str
    meaning: str
    labels: Labels = ()
    is_counter: bool = False

    def metric(self, samples: Iterable[tuple[Labels, float]] = ()) -> Metric:
        """The metric with these samples."""
        kind = CounterMetricFamily if self.is_counter else GaugeMetricFamily
        metric = kind(self.name, self.meaning, labels=self.labels)
        for labels, value in samples:
            metric.add_metric(labels, value)
        return metric


def metrics(families: Iterable[Family], found: Mapping[str, list[tuple[Labels, float]]]) -> Iterator[Metric]:
    """Every family with what was found of it, if anything."""
    return (family.metric(found.get(family.name, [])) for family in families)
