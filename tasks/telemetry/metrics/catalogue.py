"""The list of tamis's metrics. The documentation is made from it; tests check dashboard and alerts against it."""

from __future__ import annotations

from dataclasses import dataclass

from tasks.telemetry.metrics import fleet, process
from tasks.telemetry.metrics.instruments import ATTEMPTS, FEATURE_CACHE, QUEUE_WAIT, ROWS, SHARDS, STAGE, VERDICTS

SUFFIXES = {"counter": ("_total",), "histogram": ("_bucket", "_sum", "_count"), "gauge": ("",)}


@dataclass(frozen=True, slots=True)
class CatalogueEntry:
    """A metric. A scrape shows its ``series``: its name with the suffixes of its kind."""

    name: str
    kind: str
    labels: tuple[str, ...]
    meaning: str

    @property
    def series(self) -> tuple[str, ...]:
        """Return the names that a query uses."""
        return tuple(f"{self.name}{suffix}" for suffix in SUFFIXES[self.kind])


def catalogue() -> list[CatalogueEntry]:
    """Return every metric, in the order of the modules."""
    instruments = [
        # The client has no public access to an instrument's label names.
        CatalogueEntry(metric.name, metric.type, tuple(instrument._labelnames), metric.documentation)  # noqa: SLF001 -- see above
        for instrument in (QUEUE_WAIT, STAGE, ROWS, VERDICTS, ATTEMPTS, FEATURE_CACHE, SHARDS)
        for metric in instrument.describe()
    ]
    collected = [
        CatalogueEntry(family.name, "counter" if family.is_counter else "gauge", family.labels, family.meaning)
        for family in (*process.FAMILIES, *fleet.FAMILIES)
    ]
    return [*instruments, *collected]
