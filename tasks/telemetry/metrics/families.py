"""Metric families whose samples are read at a scrape."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

Labels = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class MetricFamily:
    """A metric's name, meaning and label names."""

    name: str
    meaning: str
    labels: Labels = ()
    is_counter: bool = False

    def metric(self, samples: Iterable[tuple[Labels, float]] = ()) -> Metric:
        """Return the metric with these ``(label values, value)`` samples."""
        kind = CounterMetricFamily if self.is_counter else GaugeMetricFamily
        metric = kind(self.name, self.meaning, labels=self.labels)
        for labels, value in samples:
            metric.add_metric(labels, value)
        return metric


def metrics(families: Iterable[MetricFamily], found: Mapping[str, list[tuple[Labels, float]]]) -> Iterator[Metric]:
    """Return every family as a metric, with the samples that were found for it."""
    return (family.metric(found.get(family.name, [])) for family in families)
