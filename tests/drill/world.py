"""The drill's directory: tables, objects, spools, logs, and marker files that order faults."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from storage.records import INPUT_COLUMNS, OUTPUT_COLUMNS
from tests.drill.plan import DEADLINE_SECONDS, VISIBILITY_SECONDS, Plan, make_plan
from tests.drill.rows import BUCKET, LARGEST_BYTES, NUMBER, Kind

NODES = ("n1", "n2")
SPOOL_BYTES = 40 * LARGEST_BYTES
SPOOL_DISK_BYTES = 16 << 20  # room for the index beside the videos, with a log that SQLite lets grow to 4 MiB
VARIABLE = "DRILL"
FAULTS_OVER = "faults-over"  # mark of a drill of several nodes
DAY = "20250115"


@dataclass(frozen=True, slots=True)
class DrillWorld:
    """Paths and sizes of a drill; equal in the harness and in every worker."""

    root: Path
    rows: int
    kills: int
    seed: int
    nodes: tuple[str, ...] = NODES
    judge_seconds: float = 0.0  # added to each judgement, so that the run lasts as long as the faults
    odps_project: str = ""  # where the tables are; SQLite files if empty

    @property
    def plan(self) -> Plan:
        """The drill's plan."""
        return make_plan(self.rows, self.kills, self.seed)

    @property
    def tables(self) -> str:
        """URL of the input."""
        return f"odps://{self.odps_project}/videos/ds={DAY}" if self.odps_project else self._sqlite("input", "videos")

    @property
    def outputs(self) -> str:
        """URL of the output."""
        return (
            f"odps://{self.odps_project}/results/ds={DAY}" if self.odps_project else self._sqlite("output", "results")
        )

    @property
    def hanging(self) -> str:
        """URL of an input that never opens."""
        return f"odps://{self.odps_project}/hanging/ds={DAY}"

    def _sqlite(self, file: str, table: str) -> str:
        return f"sqlite:///{self.root}/{file}.db#{table}/ds={DAY}"

    @property
    def objects(self) -> Path:
        """Root of the object store."""
        return self.root / "objects"

    @property
    def step_logs(self) -> Path:
        """The processes' step logs."""
        return self.root / "step-logs"

    @property
    def ready(self) -> Path:
        """A file for each pid that has begun to consume; it holds the node's name."""
        return self.root / "ready"

    @property
    def taken(self) -> Path:
        """A file for each pid that received a message, touched at each."""
        return self.root / "taken"

    @property
    def spent(self) -> Path:
        """Marker files of faults that have happened: each happens once."""
        return self.root / "spent"

    @property
    def orders(self) -> Path:
        """Files that order the workers' tables to fail."""
        return self.root / "orders"

    @property
    def state(self) -> Path:
        """The fleet's logs."""
        return self.root / "state"

    def spool(self, node: str) -> Path:
        """The node's spool."""
        return self.root / f"disk-{node}" / "spool"

    def lay_out(self) -> None:
        """Create directories, objects and the input table."""
        for directory in (self.objects, self.step_logs, self.ready, self.taken, self.spent, self.orders, self.state):
            directory.mkdir(parents=True)
        for node in self.nodes:
            self.spool(node).parent.mkdir()
        rows = self.plan.rows
        for row in rows:
            if row.video == row.ordinal and row.kind not in {Kind.MISSING, Kind.FORBIDDEN}:
                path = self.objects / BUCKET / row.path
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(row.content(self.seed))
        if not self.odps_project:
            self._lay_out_sqlite()

    def _lay_out_sqlite(self) -> None:
        columns = (*INPUT_COLUMNS, NUMBER)
        with closing(sqlite3.connect(self.root / "input.db")) as table, table:
            table.execute(f"CREATE TABLE videos ({', '.join(columns)}, ds)")
            places = ", ".join("?" * (len(columns) + 1))
            records = ((*row.record().values(), DAY) for row in self.plan.rows)
            table.executemany(f"INSERT INTO videos VALUES ({places})", records)
        with closing(sqlite3.connect(self.root / "output.db")) as table, table:
            check = f"{NUMBER} CHECK ({NUMBER} <> 'many')"
            table.execute(f"CREATE TABLE results ({', '.join(OUTPUT_COLUMNS)}, {check}, ds)")

    def environment(self, broker: Mapping[str, str]) -> dict[str, str]:
        """Return the settings of every process, without those of its node."""
        small = {
            "TAMIS_STATE_DIR": self.state,
            "TAMIS_OBJECT_ROOT": self.objects,
            "TAMIS_DISK_LIMIT_BYTES": SPOOL_BYTES,
            "TAMIS_TYPICAL_VIDEO_BYTES": LARGEST_BYTES,
            "TAMIS_MAX_VIDEO_BYTES": 1 << 20,
            "TAMIS_SHARD_ROWS": max(10, min(50, self.rows // 12)),
            "TAMIS_OPEN_SHARDS": 8,
            "TAMIS_VISIBILITY_TIMEOUT_SECONDS": VISIBILITY_SECONDS,
            "TAMIS_TASK_DEADLINE_SECONDS": DEADLINE_SECONDS,
            "TAMIS_STALE_SHARD_SECONDS": 10,
            "TAMIS_STALL_SECONDS": 30,
            "TAMIS_RETRY_BACKOFF_SECONDS": 0.2,
            "TAMIS_RETRY_BACKOFF_MAX_SECONDS": 2,
            "TAMIS_DECODE_TIMEOUT_SECONDS": 2,
            "TAMIS_DECODER_CHILDREN": 2,
        }
        own = {**asdict(self), "root": str(self.root)}
        return {name: str(value) for name, value in small.items()} | {VARIABLE: json.dumps(own)} | dict(broker)

    def claim(self, mark: str) -> bool:
        """Return whether this is the first call for ``mark`` in all processes of the drill."""
        try:
            os.close(os.open(self._mark(mark), os.O_CREAT | os.O_EXCL))
        except FileExistsError:
            return False
        return True

    def is_claimed(self, mark: str) -> bool:
        """Return whether a process of the drill has claimed ``mark``."""
        return self._mark(mark).exists()

    def _mark(self, mark: str) -> Path:
        return self.spent / mark.replace("/", "-")

    def spent_marks(self, prefix: str) -> int:
        """Return the number of claimed marks with this prefix."""
        return sum(path.name.startswith(prefix) for path in self.spent.iterdir())

    def add_problem(self, problem: str) -> None:
        """Let the drill fail for this reason."""
        with (self.root / "problems.log").open("a", encoding="utf-8") as problems:
            problems.write(problem + "\n")

    def reported_problems(self) -> list[str]:
        """Return the problems that workers have added."""
        with suppress(FileNotFoundError):
            return (self.root / "problems.log").read_text(encoding="utf-8").splitlines()
        return []


def from_environment() -> DrillWorld:
    """Return the world of this worker process."""
    own = json.loads(os.environ[VARIABLE])
    return DrillWorld(**{**own, "root": Path(own["root"]), "nodes": tuple(own["nodes"])})


def mount_spool_disks(world: DrillWorld) -> bool:
    """Mount a small disk for every node's spool; return False where this user may not mount."""
    for node in world.nodes:
        command = ["mount", "-t", "tmpfs", "-o", f"size={SPOOL_DISK_BYTES}", "drill", str(world.spool(node).parent)]
        if subprocess.run(command, capture_output=True, check=False).returncode != 0:
            return False
    return True


def fill_disk(world: DrillWorld, node: str) -> None:
    """Fill the node's disk to its last byte."""
    with (world.spool(node).parent / "ballast").open("ab", buffering=0) as ballast, suppress(OSError):
        while True:
            ballast.write(bytes(4096))


def empty_disk(world: DrillWorld, node: str) -> None:
    """End :func:`fill_disk`."""
    (world.spool(node).parent / "ballast").unlink(missing_ok=True)


@contextmanager
def removed_unless(world: DrillWorld, keep: list[str]) -> Iterator[None]:
    """Remove the directory after the block, unless ``keep`` holds a reason to keep it."""
    yield
    if not keep:
        for node in world.nodes:
            subprocess.run(["umount", str(world.spool(node).parent)], capture_output=True, check=False)
        shutil.rmtree(world.root, ignore_errors=True)
