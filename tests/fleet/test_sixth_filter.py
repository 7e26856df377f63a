"""A sixth filter, added by a manifest without code, appears wherever the five others do."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from tests.fleet.processes import wait_until
from tests.http_get import get
from tests.media import real_clip
from tests.valkey import free_port

ROOT = Path(__file__).parents[2]
TAMIS = [sys.executable, "-c", "from tasks.cli import main; main()"]
NIGHT = """
[heads.night]
backbone = "vjepa2-base"
kind = "linear"
labels = ["night_video", "normal_video"]
weights = "seed:15"

[[filters]]
name = "night"
switch = "night_enable"
help = "Judge whether it is night."
head = "night"
outputs = [{ key = "night_filter", scope = "whole" }]
"""
SOURCES = """
[[source]]
name = "clips"
tables = "{root}/in/ds={{date}}.jsonl"
outputs = "sqlite:///{root}/out.db#results/ds={{date}}"
start = 2025-01-01
[source.filters]
{switch} = false
"""


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A manifest of six filters, one clip, and a row that names it."""
    root = tmp_path_factory.mktemp("sixth")
    tiny = (ROOT / "inference" / "manifest" / "built_in" / "tiny.toml").read_text(encoding="utf-8")
    (root / "six.toml").write_text(tiny + NIGHT, encoding="utf-8")
    (root / "objects" / "clips").mkdir(parents=True)
    (root / "objects" / "clips" / "b.mp4").write_bytes(real_clip("b.mp4").read_bytes())
    row = {"video_id": "b", "oss_bucket": "clips", "video_path": "b.mp4", "video_tag": "", "info": ""}
    (root / "in.jsonl").write_text(json.dumps(row) + "\n", encoding="utf-8")
    return root


def environ(root: Path, **settings: str) -> dict[str, str]:
    own = {
        "TAMIS_STATE_DIR": root / "state",
        "TAMIS_OBJECT_ROOT": root / "objects",
        "TAMIS_MANIFEST": root / "six.toml",
    }
    given = {name: value for name, value in os.environ.items() if not name.startswith("TAMIS_")}
    return given | {name: str(value) for name, value in own.items()} | settings


def run(root: Path, *arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*TAMIS, *arguments], cwd=ROOT, env=environ(root, **settings), capture_output=True, text=True, check=False
    )


@contextmanager
def fleet(root: Path, port: int) -> Iterator[None]:
    """Run `tamis up` during the block; its first worker serves its metrics at the port."""
    with (root / "up.log").open("w") as log:
        process = subprocess.Popen(
            [*TAMIS, "up"], cwd=ROOT, env=environ(root, TAMIS_METRICS_PORT=str(port)), stdout=log, stderr=log
        )
        try:
            wait_until((root / "state" / "broker.sock").exists, "`tamis up` serves its broker")
            yield
        finally:
            process.terminate()
            process.wait(60)


def scrapes(port: int) -> str:
    """Return the metrics of all workers of the node, whose ports follow the first one."""
    return "".join(get(f"http://127.0.0.1:{port + number}/metrics")[1] for number in range(4))


def test_the_help_of_sift_names_the_sixth_switch_with_the_manifests_text(root: Path) -> None:
    answer = run(root, "sift", "--help", COLUMNS="160")
    assert "--night_enable" in answer.stdout
    assert "Judge whether it is night." in answer.stdout
    assert "--vfx_enable" in answer.stdout


def test_a_manifest_that_cannot_be_read_is_named_by_the_help(root: Path) -> None:
    answer = run(root, "sift", "--help", TAMIS_MANIFEST="absent.toml")
    assert answer.returncode == 2
    assert "manifest absent.toml cannot be read" in answer.stderr


def test_a_source_switches_the_sixth_filter_off_and_an_unknown_one_is_refused(root: Path) -> None:
    (root / "sources.toml").write_text(SOURCES.format(root=root, switch="night_enable"), encoding="utf-8")
    known = run(root, "ingest", "--dry-run", TAMIS_SOURCES=str(root / "sources.toml"))
    assert "night_enable" not in known.stderr
    (root / "sources.toml").write_text(SOURCES.format(root=root, switch="day_enable"), encoding="utf-8")
    unknown = run(root, "ingest", "--dry-run", TAMIS_SOURCES=str(root / "sources.toml"))
    assert unknown.returncode == 2
    assert "day_enable: not a switch of the manifest, which has vfx_enable" in unknown.stderr
    assert "night_enable" in unknown.stderr


def test_the_sixth_verdict_is_in_the_output_the_summary_and_the_metrics(root: Path) -> None:
    port = free_port()
    output = f"sqlite:///{root}/out.db#results"
    with fleet(root, port):
        answer = run(root, "sift", "--tables", str(root / "in.jsonl"), "--outputs", output)
        assert answer.returncode == 0, answer.stderr + (root / "up.log").read_text()
        wait_until(lambda: "tamis_verdicts_total{label=" in scrapes(port), "a verdict in the metrics")
        assert 'output="night_filter"' in scrapes(port)
    assert "night" in answer.stdout
    with closing(sqlite3.connect(root / "out.db")) as database:
        ((info,),) = database.execute("SELECT info FROM results").fetchall()
    verdict = json.loads(info)["night_filter"]
    assert set(verdict["result"]) == {"night_video", "normal_video"}
    assert verdict["label"] in verdict["result"]
