"""Flower as an operator uses it: nothing without the password; with it videos, runs and verdicts, in a browser."""

from __future__ import annotations

import base64
import html
import json
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
from flower.urls import handlers
from tornado.web import URLSpec

from tests.browser.watched import HOSTILE, MonitoredFleet, free_ports, program, running
from tests.fleet.processes import wait_until
from tests.http_get import get
from tests.valkey import valkey_server

TAMIS = str(Path(sys.executable).parent / "tamis")
CREDENTIALS = "operator:tame-and-quiet"
AUTHORIZED = {"Authorization": f"Basic {base64.b64encode(CREDENTIALS.encode()).decode()}"}
# Headless, able to run in a container, and without requests to other hosts.
CHROMIUM = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync --disable-dev-shm-usage --window-size=1500,900"
)


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
