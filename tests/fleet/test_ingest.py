"""Ingestion by a real fleet without models: two beats and real workers find new partitions and sift them."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.fleet.processes import REPOSITORY, WorkerProcess, wait_until
from tests.valkey import ValkeyServer, valkey_server

ROWS = 3
TICK_SECONDS = 5.0
GRACE_SECONDS = 60.0  # for a busy machine

SOURCES = """
[[source]]
name = "clips"
tables = "{root}/in/ds={{date}}.jsonl"
outputs = "sqlite:///{root}/out.db#results/ds={{date}}"
start = 2025-01-01
every_minutes = 0.02
settled_seconds = 0.1
max_runs = 2

[[source]]
name = "broken"
tables = "{root}/nowhere/ds={{date}}.jsonl"
outputs = "sqlite:///{root}/out.db#broken/ds={{date}}"
start = 2025-01-01
every_minutes = 0.02
"""


@dataclass
class IngestWorld:
    """Input files, a declared source and the processes that sift it."""

    root: Path
    server: ValkeyServer
    environ: dict[str, str]
    processes: list[WorkerProcess] = field(default_factory=list)

    def add_partition(self, day: str) -> None:
        rows = [
            {"video_id": f"{day}-{n}", "oss_bucket": "bucket", "video_path": f"{day}-{n}", "video_tag": "", "info": ""}
            for n in range(ROWS)
        ]
        for row in rows:
            (self.root / "objects" / "bucket" / str(row["video_path"])).write_text(str(row["video_id"]))
        part = self.root / f"{day}.part"
        part.write_text("".join(json.dumps(row) + "\n" for row in rows))
        part.rename(self.root / "in" / f"ds={day}.jsonl")

    def start(self, name: str, *arguments: str) -> WorkerProcess:
        log_path = self.root / f"{name}.log"
        with log_path.open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "tasks", "-A", "tests.fleet.apps.ingesting", *arguments],
                env=self.environ,
                cwd=REPOSITORY,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        self.processes.append(WorkerProcess(name, process, log_path))
        return self.processes[-1]

    def start_worker(self, name: str, queues: str) -> None:
        options = ["-P", "threads", "-c", "4", "-Q", queues, "-n", f"{name}@here", "-l", "INFO", "--without-mingle"]
        self.start(name, "worker", *options)

    def start_beat(self, name: str) -> WorkerProcess:
        return self.start(name, "beat", "-l", "DEBUG", "--pidfile=")  # chores are logged at DEBUG

    def tamis(self, *arguments: str) -> str:
        command = [sys.executable, "-c", "from tasks.cli import main; main()", *arguments]
        answer = subprocess.run(command, env=self.environ, cwd=self.root, capture_output=True, text=True, check=False)
        assert answer.returncode == 0, answer.stdout + answer.stderr
        return answer.stdout

    def results(self) -> list[str]:
        if not (self.root / "out.db").exists():
            return []
        with closing(sqlite3.connect(self.root / "out.db")) as db:
            try:
                return [video for (video,) in db.execute("SELECT video_id FROM results ORDER BY video_id")]
            except sqlite3.OperationalError:
                return []

    def judged(self) -> list[str]:
        return sorted((self.root / "diary").read_text().split())

    def wait_for(self, *days: str, seconds: float) -> None:
        wanted = [f"{day}-{n}" for day in days for n in range(ROWS)]
        wait_until(lambda: self.results() == wanted, f"results of {days}", seconds, self.story)

    def story(self) -> str:
        return "\n".join(f"--- {process.name}\n{process.log()[-3000:]}" for process in self.processes)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[IngestWorld]:
    (tmp_path / "in").mkdir()
    (tmp_path / "objects" / "bucket").mkdir(parents=True)
    (tmp_path / "sources.toml").write_text(SOURCES.format(root=tmp_path))
    with valkey_server() as server:
        clean = {name: value for name, value in os.environ.items() if not name.startswith("TAMIS_")}
        clean["TAMIS_MANIFEST"] = "tiny"
        settings = {
            "TAMIS_BROKER_URL": server.url,
            "TAMIS_STATE_DIR": str(tmp_path / "state"),
            "TAMIS_OBJECT_ROOT": str(tmp_path / "objects"),
            "TAMIS_NODE": "here",
            "TAMIS_SOURCES": str(tmp_path / "sources.toml"),
            "INGEST_DIARY": str(tmp_path / "diary"),
            "LIGHT_HOLD": str(tmp_path / "hold"),
            "PYTHONPATH": str(REPOSITORY),
        }
        made = IngestWorld(tmp_path, server, clean | settings)
        yield made
        for process in made.processes:
            process.kill()


def test_each_new_partition_is_sifted_once_although_beats_die_and_redis_is_emptied(world: IngestWorld) -> None:
    world.add_partition("20250102")
    world.add_partition("20250101")
    world.start_worker("results", "results,control")
    world.start_worker("io", "io")
    world.start_worker("gpu", "gpu.here,gpu")
    first, second = world.start_beat("beat1"), world.start_beat("beat2")
    world.wait_for("20250101", "20250102", seconds=2 * TICK_SECONDS + GRACE_SECONDS)
    for beat in (first, second):
        beat.wait_for("Sending due task ingest-new-partitions")
    with closing(world.server.client()) as client:
        wait_until(lambda: client.exists("tamis:period:tasks.chores.ingest"), "the task is claimed for its period")

    first.kill()
    world.add_partition("20250103")
    third = world.start_beat("beat3")
    world.wait_for("20250101", "20250102", "20250103", seconds=TICK_SECONDS + GRACE_SECONDS)

    with closing(world.server.client()) as client:
        client.flushall()  # journal and ledger are gone; rows in the output are not sifted again
    world.add_partition("20250104")
    world.wait_for("20250101", "20250102", "20250103", "20250104", seconds=TICK_SECONDS + GRACE_SECONDS)
    assert world.judged() == world.results()
    assert second.process.poll() is None
    assert third.process.poll() is None

    listed = world.tamis("ingest", "list")
    assert "nowhere" in listed  # the other source's trouble is listed, and did not stop this one
    assert "already" not in listed
    entries = world.tamis("ingest", "list", "clips")
    assert entries.count("done") + entries.count("running") == 4
