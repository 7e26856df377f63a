"""Nodes of real worker processes without models on one broker, and a run of small files for them."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from storage.ledger import Ledger, Run, RunSpec
from storage.tables.open import open_input, open_output
from tasks.queues import QUEUE_OF, TaskName
from tests.fleet.processes import REPOSITORY, Fleet, WorkerProcess
from tests.valkey import ValkeyServer

ROWS = 24
THREADS = 2
MANIFEST_DIGEST = "light"
SILENCE_SECONDS = 3.0


@dataclass
class Nodes:
    """Worker processes of several nodes on one broker; each node has its own spool."""

    root: Path
    fleet: Fleet
    ledger: Ledger

    def start(self, node: str, role: str, *queues: str, **more: str) -> WorkerProcess:
        """Start a worker as `tamis up` on that node does; ``more`` are environment variables."""
        name, log_path = f"{role}-{node}", self.root / f"{role}-{node}.log"
        command = [sys.executable, "-m", "tasks", "-A", "tests.fleet.apps.light", "worker", "--pool=threads"]
        command += [f"--concurrency={THREADS}", f"--queues={','.join(queues)}", f"--hostname={name}@test"]
        command += ["--loglevel=INFO", "--without-mingle", "--without-gossip"]
        variables = {
            "PYTHONPATH": str(REPOSITORY),
            "TAMIS_NODE": node,
            "TAMIS_BROKER_URL": self.fleet.broker_url,
            "TAMIS_SPOOL_DIR": str(self.spool(node)),
            "TAMIS_STATE_DIR": str(self.root / "state"),
            "TAMIS_OBJECT_ROOT": str(self.root / "objects"),
            "TAMIS_VISIBILITY_TIMEOUT_SECONDS": str(self.fleet.visibility_timeout_seconds),
            "TAMIS_NODE_SILENCE_SECONDS": str(SILENCE_SECONDS),
            "TAMIS_MAX_QUEUE_SIZE": str(ROWS),
            "LIGHT_HOLD": str(self.hold(node)),
        }
        clean = {name: value for name, value in os.environ.items() if not name.startswith("TAMIS_")}
        with log_path.open("wb") as log:
            process = subprocess.Popen(
                command,
                env=clean | variables | more,
                cwd=REPOSITORY,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self.fleet.workers.append(WorkerProcess(name, process, log_path))
        return self.fleet.workers[-1]

    def spool(self, node: str) -> Path:
        return self.root / f"spool-{node}"

    def hold(self, node: str) -> Path:
        return self.root / f"hold-{node}"

    def send(self, task: TaskName, *arguments: str) -> None:
        self.fleet.send(task, *arguments, queue=QUEUE_OF[task])

    def is_complete(self, run: Run) -> bool:
        found = self.ledger.run(run.run_id)
        return found is not None and found.is_complete

    def in_flight(self, run: Run) -> int:
        counts = self.ledger.counts(run.run_id)
        assert counts is not None
        return counts.in_flight


@contextmanager
def light_nodes(server: ValkeyServer, root: Path, *, visibility_timeout_seconds: float = 5.0) -> Iterator[Nodes]:
    """Yield nodes on this server; their workers are killed and the server is emptied afterwards."""
    client = server.client()
    fleet = Fleet(server.url, root / "fleet", visibility_timeout_seconds, keyprefix="tamis:")
    yield Nodes(root, fleet, Ledger(client))
    fleet.close()
    client.flushall()
    client.close()


def submit_small_files(nodes: Nodes) -> Run:
    """Submit a run of small files; each file holds the number of its row."""
    folder = nodes.root / "objects" / "bucket"
    folder.mkdir(parents=True)
    rows = [(f"v{number}", "bucket", f"{number}.mp4", "", "") for number in range(ROWS)]
    for number, row in enumerate(rows):
        (folder / row[2]).write_text(f"video {number}")
    with closing(sqlite3.connect(nodes.root / "in.db")) as db, db:
        db.execute("CREATE TABLE v (video_id TEXT, oss_bucket TEXT, video_path TEXT, video_tag TEXT, info TEXT)")
        db.executemany("INSERT INTO v VALUES (?, ?, ?, ?, ?)", rows)
    with (
        closing(open_input(f"sqlite:///{nodes.root}/in.db#v")) as source,
        closing(open_output(f"sqlite:///{nodes.root}/out.db#r")) as sink,
    ):
        spec = RunSpec(source.url, sink.url, ("vfx_enable",), "light", MANIFEST_DIGEST)
    return nodes.ledger.submit(spec, total_rows=ROWS, shard_rows=8, extra_columns=())[0]


def written(nodes: Nodes) -> list[tuple[int, str, str]]:
    """Return ordinal, spool and content of every row of the output."""
    with closing(sqlite3.connect(nodes.root / "out.db")) as db:
        rows = [tuple(map(json.loads, row)) for row in db.execute("SELECT info, result_info FROM r")]
    return sorted((result["ordinal"], info.get("spool", str(result)), info.get("content", "")) for info, result in rows)
