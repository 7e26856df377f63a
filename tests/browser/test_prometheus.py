"""Every query of dashboard and alerts, run on a real Prometheus that has scraped a real fleet during a run."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.browser.watched import NODE, WORKERS, MonitoredFleet
from tests.fleet.processes import wait_until

DEPLOY = Path(__file__).parents[2] / "deploy"
NEEDS_A_GPU = {"tamis_device_busy_ratio", "tamis_device_memory_bytes"}
NO_DATA = NEEDS_A_GPU | {  # this fleet has no GPU and no cache of features
    "tamis_feature_cache_errors_total",
    "tamis_feature_cache_hit_bytes_total",
    "tamis_feature_cache_saved_seconds_total",
    "tamis_feature_cache_total",
}
# Events that did not happen in this run have no series: tests/unit/deploy/test_prometheus.py checks their names
# and labels against the registry.
DID_NOT_HAPPEN = {
    'tamis_queue_oldest_seconds{queue=~"control|results"}',
    'tamis_tier_misses_total{reason!="object_missing"}',
}
SELECTOR = re.compile(r"\b(?:tamis_|process_|up\b)\w*(?:\{[^}]*\})?")


def panels(run: str = ".*") -> list[tuple[str, str]]:
    """Return title and query of each panel, with rates over ten of the test's scrapes."""
    return [
        (panel["title"], target["expr"].replace("$run", run).replace("$__rate_interval", "10s"))
        for panel in json.loads((DEPLOY / "grafana" / "dashboard.json").read_text())["panels"]
        for target in panel.get("targets", [])
    ]


def alerts() -> list[dict[str, Any]]:
    """Return every rule."""
    groups = yaml.safe_load((DEPLOY / "prometheus" / "alerts.yml").read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


def history(watched: MonitoredFleet, query: str) -> list[float]:
    """Return every value of a query since the fleet started."""
    now = float(watched.ask("query", query="time()")["result"][1])
    found = watched.ask("query_range", query=query, start=str(now - 300), end=str(now), step="1")["result"]
    values = [float(value) for series in found for _, value in series["values"]]
    return [value for value in values if math.isfinite(value)]


@pytest.fixture(scope="module")
def seen(watched: MonitoredFleet) -> MonitoredFleet:
    """The fleet, after Prometheus has scraped it after its run."""
    ended = f'sum(max by (state) (tamis_run_rows{{run="{watched.run_id}", state!="in_flight"}})) == 5'
    written = "sum(tamis_shards_written_total) >= 3"
    wait_until(lambda: watched.ask("query", query=f"{ended} and {written}")["result"], "the run's end is scraped", 30)
    return watched


@pytest.mark.parametrize(("title", "query"), panels())
def test_a_panel_has_data(title: str, query: str, seen: MonitoredFleet) -> None:
    values = history(seen, query)
    if any(name in query for name in NO_DATA):
        assert values == []
    else:
        assert values


def test_the_dashboard_shows_the_rows_and_verdicts_of_the_run(seen: MonitoredFleet) -> None:
    queries: dict[str, str] = {}
    for title, query in panels(seen.run_id):
        queries.setdefault(title, query)
    assert history(seen, queries["done"])[-1] == 1
    assert history(seen, queries["time left"])[-1] == 0
    states = {
        one["metric"]["state"]: float(one["value"][1]) for one in seen.ask("query", query=queries["rows"])["result"]
    }
    assert states == {"ok": 3, "failed": 2, "in_flight": 0, "held": 0}
    codes = seen.ask("query", query=queries["failed rows by code"])["result"]
    assert {one["metric"]["code"] for one in codes} == {"object_missing", "not_a_video"}
    assert max(history(seen, queries["messages waiting"])) >= 1
    assert max(history(seen, queries["clips in a batch"])) >= 1


def test_every_worker_is_scraped_without_errors(seen: MonitoredFleet) -> None:
    targets = seen.ask("targets")["activeTargets"]
    assert {target["labels"]["role"]: (target["health"], target["lastError"]) for target in targets} == dict.fromkeys(
        WORKERS, ("up", "")
    )
    nodes = {series["node"] for series in seen.ask("series", **{"match[]": "tamis_worker_node"})}
    assert nodes == {NODE}


@pytest.mark.parametrize("rule", alerts(), ids=lambda rule: rule["alert"])
def test_an_alert_queries_existing_series(rule: dict[str, Any], seen: MonitoredFleet) -> None:
    seen.ask("query", query=rule["expr"])
    for selector in SELECTOR.findall(rule["expr"]):
        if selector not in DID_NOT_HAPPEN and not any(name in selector for name in NEEDS_A_GPU):
            assert seen.ask("series", **{"match[]": selector}), selector


def test_no_alert_fires_for_a_healthy_fleet_and_every_rule_is_valid(seen: MonitoredFleet) -> None:
    rules = [rule for group in seen.ask("rules")["groups"] for rule in group["rules"]]
    assert {rule["name"] for rule in rules} == {rule["alert"] for rule in alerts()}
    assert {rule["name"]: (rule["health"], rule.get("lastError", "")) for rule in rules} == dict.fromkeys(
        (rule["name"] for rule in rules), ("ok", "")
    )
    assert [rule["name"] for rule in rules if rule["state"] == "firing"] == []


def test_prometheus_logged_no_error(seen: MonitoredFleet) -> None:
    assert "err=" not in (seen.root / "prometheus.log").read_text()
