"""Every metric of ours, by name: what the documentation is made from, and dashboard and alerts are held to."""

from __future__ import annotations

from dataclasses import dataclass

from tasks.telemetry.metrics import fleet, process
from tasks.telemetry.metrics.instruments import ATTEMPTS, QUEUE_WAIT, ROWS, SHARDS, STAGE, VERDICTS

SUFFIXES = {"counter": ("_total",), "histogram": ("_bucket", "_sum", "_count"), "gauge": ("",)}


@dataclass(frozen=True, slots=True)
class CatalogueEntry:
    """One metric. A scrape holds its ``series``: its name with a suffix for its kind."""

    name: str
    kind: str
    labels: tuple[str, ...]
    meaning: str

    @property
    def series(self) -> tuple[str, ...]:
        """The names that a query uses."""
        return tuple(f"{self.name}{suffix}" for suffix in SUFFIXES[self.kind])


def catalogue() -> list[CatalogueEntry]:
    """Return every metric, in the order of the modules."""
    instruments = [
        # The client shows an instrument's labels nowhere else.
        CatalogueEntry(described.name, described.type, tuple(one._labelnames), described.documentation)  # noqa: SLF001 -- see above
        for one in (QUEUE_WAIT, STAGE, ROWS, VERDICTS, ATTEMPTS, SHARDS)
        for described in one.describe()
    ]
    looked_up = [
        CatalogueEntry(one.name, "counter" if one.is_counter else "gauge", one.labels, one.meaning)
        for one in (*process.FAMILIES, *fleet.FAMILIES)
    ]
    return [*instruments, *looked_up]
