"""The dashboard: rendered from panels.py, without overlaps, with queries of existing metrics."""

from __future__ import annotations

import json
import subprocess
import sys
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
import yaml

from tasks.telemetry.metrics.catalogue import catalogue
from tests.unit.deploy.registry import asked_for, series

GRAFANA = Path(__file__).parents[3] / "deploy" / "grafana"
# Shown by /readyz, or used in an alert only.
NOT_SHOWN = {"tamis_worker_node"}


def panels() -> list[dict[str, Any]]:
    """Return every panel and row of the committed file."""
    found: list[dict[str, Any]] = json.loads((GRAFANA / "dashboard.json").read_text())["panels"]
    return found


def queries() -> list[str]:
    """Return every query of the dashboard."""
    return [target["expr"] for panel in panels() for target in panel.get("targets", [])]


def test_the_committed_file_is_up_to_date() -> None:
    command = [sys.executable, GRAFANA / "render_dashboard.py", "--check"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("query", queries())
def test_a_panel_queries_existing_metrics_and_labels(query: str) -> None:
    known = series()
    asked = list(asked_for(query))
    assert asked
    for name, labels in asked:
        assert name in known
        assert labels <= known[name], name


def test_every_metric_is_on_the_dashboard_or_in_the_list_of_those_left_out() -> None:
    text = " ".join(queries())
    assert {one.name for one in catalogue() if one.name not in text} == NOT_SHOWN


def test_no_panel_covers_another_or_leaves_the_page() -> None:
    places = [panel["gridPos"] for panel in panels()]
    assert all(one["x"] >= 0 and one["x"] + one["w"] <= 24 for one in places)
    for one, other in combinations(places, 2):
        beside = one["x"] + one["w"] <= other["x"] or other["x"] + other["w"] <= one["x"]
        above = one["y"] + one["h"] <= other["y"] or other["y"] + other["h"] <= one["y"]
        assert beside or above, (one, other)
    assert len({panel["id"] for panel in panels()}) == len(places)


def test_the_dashboard_finds_its_data_source_and_grafana_its_dashboard() -> None:
    (source,) = yaml.safe_load((GRAFANA / "provisioning/datasources/prometheus.yml").read_text())["datasources"]
    (provider,) = yaml.safe_load((GRAFANA / "provisioning/dashboards/tamis.yml").read_text())["providers"]
    compose = yaml.safe_load((GRAFANA.parent / "compose.yaml").read_text())["services"]
    assert {panel["datasource"]["uid"] for panel in panels() if "targets" in panel} == {source["uid"]}
    assert source["url"] == "http://prometheus:9090"
    assert "prometheus" in compose
    mounted = f"./grafana/dashboard.json:{provider['options']['path']}/dashboard.json:ro"
    assert mounted in compose["grafana"]["volumes"]
