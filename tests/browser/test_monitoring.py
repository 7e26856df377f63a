"""Prometheus and Flower over one fleet and its run.

Every query of dashboard and alerts runs on a real Prometheus that has scraped the fleet. Flower is used as an operator
does: nothing without the password; with it videos, runs and verdicts, in a browser.
"""

from __future__ import annotations

import base64
import html
import json
import math
import re
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from flower.urls import handlers
from tornado.web import URLSpec

from tests.browser.watched import (
    CHROMIUM,
    HOSTILE,
    NODE,
    WORKERS,
    MonitoredFleet,
    free_ports,
    program,
    running,
    watched_fleet,
)
from tests.fleet.processes import wait_until
from tests.http_get import get
from tests.valkey import valkey_server

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
TAMIS = str(Path(sys.executable).parent / "tamis")
CREDENTIALS = "operator:tame-and-quiet"
AUTHORIZED = {"Authorization": f"Basic {base64.b64encode(CREDENTIALS.encode()).decode()}"}


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MonitoredFleet]:
    """A fleet after its run, with its Prometheus; the run takes a quarter of a minute."""
    with watched_fleet(tmp_path_factory.mktemp("watched")) as fleet:
        yield fleet


# ── Prometheus ───────────────────────────────────────────────────────────────────────────────────────────────────────


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


# ── Flower, which sifts the clips again ──────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class Flower:
    """A Flower that has received the events of a run from its start."""

    port: int
    run_id: str
    root: Path

    def get(self, path: str, **headers: str) -> tuple[int, str]:
        """Return status and body."""
        return get(f"http://127.0.0.1:{self.port}{path}", **headers)

    def tasks(self) -> list[dict[str, Any]]:
        """Return the API's list of tasks."""
        return list(json.loads(self.get("/api/tasks", **AUTHORIZED)[1]).values())

    def browse(self, path: str, *flags: str) -> str:
        """Return the page as Chromium shows it, after its scripts have fetched their data."""
        command = [program("chromium"), *CHROMIUM.split(), f"--user-data-dir={self.root / 'chromium'}"]
        command += ["--virtual-time-budget=8000", *flags, f"http://{CREDENTIALS}@127.0.0.1:{self.port}{path}"]
        # Its warnings go to stderr: a container has no desktop.
        return subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout


@pytest.fixture(scope="module")
def flower(watched: MonitoredFleet) -> Iterator[Flower]:
    """Flower, started before the fleet sifts the clips a second time."""
    port = free_ports(1)
    command = [TAMIS, "flower", "--address=127.0.0.1", f"--port={port}"]
    environ = watched.environ | {"FLOWER_BASIC_AUTH": CREDENTIALS}
    with running(command, watched.root / "flower.log", env=environ) as log:
        opened = Flower(port, "", watched.root)
        wait_until(lambda: opened.get("/healthcheck")[0], "flower answers", 60, log)
        wait_until(opened.tasks, "beat's chores appear", 60, log)
        outputs = f"sqlite:///{watched.root}/again.db#results"
        sift = watched.demo.tamis("sift", "--tables", f"sqlite:///{watched.root}/input.db#videos", "--outputs", outputs)
        said = subprocess.run(sift, env=watched.environ, capture_output=True, text=True, timeout=120, check=False)
        assert said.returncode == 0, said.stdout + said.stderr
        with closing(sqlite3.connect(watched.root / "again.db")) as db:
            ((run_id,),) = db.execute("SELECT DISTINCT json_extract(result_info, '$.run_id') FROM results")
        seen = Flower(port, run_id, watched.root)
        wait_until(lambda: len(judged(seen)) == 4, "four videos were judged or refused", 30, log)
        yield seen


def judged(flower: Flower) -> list[dict[str, Any]]:
    """Return the ended tasks of the run's last step."""
    found = [task for task in flower.tasks() if task["name"] == "tasks.infer" and task["state"] == "SUCCESS"]
    return [task for task in found if flower.run_id in task["args"]]


def paths() -> list[str]:
    """Yield a path for each of Flower's routes."""
    patterns = [rule.regex.pattern if isinstance(rule, URLSpec) else rule[0] for rule in handlers]
    found = {re.sub(r"\(\.[+*]\)|\.\*", "x", pattern).removesuffix("$").replace("/?", "") for pattern in patterns}
    return sorted(found - {"x"} | {"/no/such/path", "/static/css/flower.css"})


@pytest.mark.parametrize("path", paths())
@pytest.mark.parametrize("credentials", ["", "operator:wrong", "unknown:tame-and-quiet", ":"])
def test_without_the_password_every_path_is_refused(path: str, credentials: str, flower: Flower) -> None:
    sent = {"Authorization": f"Basic {base64.b64encode(credentials.encode()).decode()}"} if credentials else {}
    status, text = flower.get(path, **sent)
    assert status == 401
    assert flower.run_id not in text


@pytest.mark.parametrize("path", ["/", "/tasks", "/metrics", "/healthcheck", "/api/workers", "/static/css/flower.css"])
def test_with_the_password_the_path_is_answered(path: str, flower: Flower) -> None:
    assert flower.get(path, **AUTHORIZED)[0] == 200


def test_a_browser_shows_video_run_stage_and_verdict(flower: Flower) -> None:
    heading, *judgements = table(flower.browse("/tasks?name=tasks.infer", "--dump-dom"))
    assert heading[:5] == ["Stage", "Video", "Run", "Verdict", "State"]
    shown = {row[1]: row for row in judgements if row[2].startswith(flower.run_id)}
    assert set(shown) == {"phone-sharp", "clip-alluxio", "title-card", "really-text"}
    assert {(row[0], row[4]) for row in shown.values()} == {("infer", "SUCCESS")}
    assert re.fullmatch(rf"{flower.run_id} row \d", shown["phone-sharp"][2])
    assert shown["phone-sharp"][3] == "ok: rotated, low quality 2/2"
    assert shown["really-text"][3] == "failed: not_a_video"


def test_a_failed_row_shows_its_reason_and_a_shard_its_run(flower: Flower) -> None:
    rows = table(flower.browse("/tasks?name=tasks.download", "--dump-dom"))
    shown = {row[1]: row[3] for row in rows if row[2].startswith(flower.run_id)}
    assert shown.pop(HOSTILE) == "failed: object_missing"
    assert set(shown.values()) == {"downloaded"}
    picture = flower.root / "flower.png"
    written = table(flower.browse("/tasks?name=tasks.write_shard", "--dump-dom", f"--screenshot={picture}"))
    assert ["write_shard", "", f"{flower.run_id} shard 0-2", "", "SUCCESS"] in [row[:5] for row in written]


def table(page: str) -> list[list[str]]:
    """Return the texts of the page's rows; the head is there twice, once for the part that scrolls."""
    rows = [cells(row) for row in re.findall(r"<tr.*?</tr>", page, re.DOTALL)]
    return [row for row in rows if len(row) >= 5]


def cells(row: str) -> list[str]:
    """Return the texts of a table's row."""
    found = re.findall(r"<t[hd].*?</t[hd]>", row, re.DOTALL)
    return [html.unescape(re.sub(r"<[^>]+>", " ", cell)).strip() for cell in found]


@pytest.mark.parametrize("credentials", ["operator", "operator:", ":secret"])
def test_flower_does_not_start_with_half_a_credential(credentials: str, watched: MonitoredFleet) -> None:
    environ = watched.environ | {"FLOWER_BASIC_AUTH": credentials}
    command = [TAMIS, "flower", f"--port={free_ports(1)}"]
    done = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert "user:password" in done.stderr
    assert "Traceback" not in done.stderr


def test_without_a_given_password_flower_generates_one_for_its_owner_alone(
    watched: MonitoredFleet, tmp_path: Path
) -> None:
    port, state = free_ports(1), tmp_path / "state"
    command = [TAMIS, "flower", "--address=127.0.0.1", f"--port={port}"]
    environ = watched.environ | {"TAMIS_STATE_DIR": str(state)}
    with ExitStack() as stack:
        environ["TAMIS_BROKER_URL"] = stack.enter_context(valkey_server()).url
        log = stack.enter_context(running(command, tmp_path / "flower.log", env=environ, cwd=tmp_path))
        opened = Flower(port, "", tmp_path)
        wait_until(lambda: opened.get("/healthcheck")[0], "flower answers", 60, log)
        assert opened.get("/healthcheck")[0] == 401
        path = state / "flower.auth"
        assert f"user and password are in {path}" in log()
        assert path.stat().st_mode & 0o777 == 0o600
        word = base64.b64encode(path.read_text().strip().encode()).decode()
        assert opened.get("/healthcheck", Authorization=f"Basic {word}")[0] == 200
