"""A run whose id is always the same, so that its messages can be kept in a file, and its worker processes.

    python -m tests.fleet.upgrading

writes the messages that this release sends about that run to ``messages/v<schema>.json``. Run it once for each new
schema and never again: the file holds the messages that a fleet of that release leaves in the broker.
"""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
import tempfile
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from storage.ledger import Ledger, Run, RunSpec
from tasks.messages import SCHEMA
from tasks.queues import QUEUE_OF, TaskName, gpu_queue
from tests.fleet.processes import REPOSITORY, Fleet, WorkerProcess, wait_until
from tests.valkey import ValkeyServer, valkey_server

ROWS = 4
NODE = "n1"
KEYPREFIX = "tamis:"
FROZEN = Path(__file__).parent / "messages"
# Relative to the workers' directory: a path of this machine would change the run's id.
SPEC = RunSpec("sqlite:///in.db#v", "sqlite:///out.db#r", ("vfx_enable",), "light", "light")


@dataclass
class UpgradeWorld:
    """A directory with a small run's input, a broker, and the workers of one node."""

    root: Path
    server: ValkeyServer
    client: Any = field(init=False)
    ledger: Ledger = field(init=False)
    fleet: Fleet = field(init=False)

    def __post_init__(self) -> None:
        self.client = self.server.client()
        self.client.flushall()
        self.ledger = Ledger(self.client)
        self.fleet = Fleet(self.server.url, self.root / "fleet", 2.0, keyprefix=KEYPREFIX)
        _write_input(self.root)

    def submit(self) -> Run:
        return self.ledger.submit(SPEC, total_rows=ROWS, shard_rows=ROWS, extra_columns=())[0]

    def start(self, role: str, *queues: str, app: str = "light") -> WorkerProcess:
        """Start a worker of these queues."""
        log_path = self.root / f"{role}-{len(self.fleet.workers)}.log"
        command = [sys.executable, "-m", "tasks", "-A", f"tests.fleet.apps.{app}", "worker", "--pool=threads"]
        command += ["--concurrency=2", f"--queues={','.join(queues)}", f"--hostname={log_path.stem}@test"]
        command += ["--loglevel=INFO", "--without-mingle", "--without-gossip"]
        clean = {name: value for name, value in os.environ.items() if not name.startswith("TAMIS_")}
        clean["TAMIS_MANIFEST"] = "tiny"
        with log_path.open("wb") as log:
            process = subprocess.Popen(
                command,
                env=clean | self._variables(),
                cwd=self.root,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        worker = WorkerProcess(role, process, log_path)
        self.fleet.workers.append(worker)
        return worker

    def _variables(self) -> dict[str, str]:
        return {
            "PYTHONPATH": str(REPOSITORY),
            "TAMIS_NODE": NODE,
            "TAMIS_BROKER_URL": self.server.url,
            "TAMIS_STATE_DIR": str(self.root / "state"),
            "TAMIS_OBJECT_ROOT": str(self.root / "objects"),
            "TAMIS_VISIBILITY_TIMEOUT_SECONDS": "2",
            "TAMIS_RETRY_BACKOFF_SECONDS": "0.1",
            "TAMIS_RETRY_BACKOFF_MAX_SECONDS": "0.5",
            "LIGHT_HOLD": str(self.root / "hold"),
        }

    def waiting(self, queue: str) -> list[str]:
        """Return the messages that wait in a queue as they are in Redis, the oldest first."""
        return [text.decode() for text in reversed(self.client.lrange(KEYPREFIX + queue, 0, -1))]

    def push(self, queue: str, messages: list[str]) -> None:
        """Add messages to a queue, the oldest first, as kombu does."""
        self.client.lpush(KEYPREFIX + queue, *messages)

    def drop(self, queue: str) -> None:
        self.client.delete(KEYPREFIX + queue)

    def send(self, task: TaskName, *arguments: object) -> None:
        self.fleet.send(task, *arguments, queue=QUEUE_OF[task])

    def written(self) -> list[tuple[int, str, str]]:
        """Return ordinal, success and content of each row of the output."""
        with closing(sqlite3.connect(self.root / "out.db")) as db:
            rows = [tuple(map(json.loads, row)) for row in db.execute("SELECT info, result_info FROM r")]
        return sorted((result["ordinal"], result["succeed"], info.get("content", "")) for info, result in rows)

    def close(self) -> None:
        self.fleet.close()
        self.client.close()


def _write_input(root: Path) -> None:
    folder = root / "objects" / "bucket"
    folder.mkdir(parents=True)
    rows = [(f"v{number}", "bucket", f"{number}.mp4", "", "") for number in range(ROWS)]
    for number, row in enumerate(rows):
        (folder / row[2]).write_text(f"video {number}")
    with closing(sqlite3.connect(root / "in.db")) as db, db:
        db.execute("CREATE TABLE v (video_id TEXT, oss_bucket TEXT, video_path TEXT, video_tag TEXT, info TEXT)")
        db.executemany("INSERT INTO v VALUES (?, ?, ?, ?, ?)", rows)


def frozen_messages(schema: int) -> dict[str, list[str]]:
    """Return by queue the messages of a release of this schema, as they were in Redis."""
    messages: dict[str, list[str]] = json.loads((FROZEN / f"v{schema}.json").read_text(encoding="utf-8"))
    return messages


def capture(world: UpgradeWorld) -> dict[str, list[str]]:
    """Run each step once; return the messages in each queue before the next step takes them."""
    run = world.submit()
    world.send(TaskName.FEED, run.run_id)
    kept = {"control": world.waiting("control")}
    for role, taken, left in (
        ("results", ("results", "control"), "io"),
        ("io", ("io",), gpu_queue(NODE)),
        ("gpu", (gpu_queue(NODE), "gpu"), "results"),
    ):
        worker = world.start(role, *taken)
        wanted = 1 if left == "results" else ROWS
        wait_until(lambda left=left, wanted=wanted: len(world.waiting(left)) == wanted, f"{wanted} wait in {left}")
        kept[left] = world.waiting(left)
        worker.kill()
    return kept


def main() -> None:
    """Write the file of the present schema; an existing file is an error, because sent messages do not change."""
    path = FROZEN / f"v{SCHEMA}.json"
    with tempfile.TemporaryDirectory() as root, valkey_server() as server, path.open("x", encoding="utf-8") as file:
        world = UpgradeWorld(Path(root), server)
        try:
            json.dump(capture(world), file, indent=1)
        finally:
            world.close()
        file.write("\n")
    print(path)


if __name__ == "__main__":
    main()
