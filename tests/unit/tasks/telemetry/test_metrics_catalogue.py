"""The catalogue, by which documentation, dashboard and alerts are checked, lists exactly the exposed metrics."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from prometheus_client import CollectorRegistry

from tasks.telemetry.metrics import fleet, process
from tasks.telemetry.metrics.catalogue import catalogue
from tasks.telemetry.metrics.instruments import REGISTRY
from tasks.telemetry.pulse import Pulse

ROOT = Path(__file__).parents[4]


def test_every_metric_is_in_the_catalogue_under_the_names_that_a_scrape_holds() -> None:
    registry = CollectorRegistry(auto_describe=True)
    registry.register(process.ProcessCollector(lambda: None, Pulse()))
    exposed = [*REGISTRY.collect(), *registry.collect()]
    entries = {entry.name: entry for entry in catalogue()}
    assert len(entries) == len(catalogue())
    assert {metric.name for metric in exposed if metric.name.startswith("tamis_")} <= set(entries)
    assert {one.name for one in fleet.FAMILIES} <= set(entries)
    for metric in exposed:
        for sample in metric.samples:
            if metric.name in entries:
                assert sample.name in entries[metric.name].series
                assert set(sample.labels) <= {*entries[metric.name].labels, "le"}


def test_series_that_alerts_read_begin_at_zero() -> None:
    begun = {tuple(sample.labels.values()) for metric in REGISTRY.collect() for sample in metric.samples}
    assert {("internal_error",), ("attempts_exhausted",), ("download", "again"), ("infer", "again")} <= begun


def test_the_documentation_lists_them() -> None:
    command = [sys.executable, "docs/render_metrics.py", "--check"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
