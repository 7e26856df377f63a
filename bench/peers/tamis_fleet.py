"""A fleet of one node as `tamis up` starts it, and runs of the files through it."""

from __future__ import annotations

import importlib
import json
import os
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from bench.harness import ROOT
from bench.peers.job import MANIFEST, Row
from bench.peers.serving import plain_environ
from inference.manifest import load_manifest
from storage.ledger import Ledger
from storage.tables.open import open_output
from tasks.node.processes import TAMIS

if TYPE_CHECKING:
    from storage.ledger import Run

BUCKET = "bench"
START_SECONDS = 300.0
POLL_SECONDS = 0.1  # each look costs CPU-seconds that count as the fleet's
COLUMNS = "video_id TEXT, oss_bucket TEXT, video_path TEXT, video_tag TEXT, info TEXT"


@dataclass(frozen=True, slots=True)
class TamisFleet:
    """A running node whose workers all take messages."""

    directory: Path
    startup_seconds: float

    def judge_all(self, paths: Sequence[Path]) -> list[Row]:
        """Submit the files as a run, wait until every row is in the output table, and return the rows."""
        return self.rows_of(*self.submit(paths))

    def rows_of(self, run: Run, ledger: Ledger) -> list[Row]:
        """Wait until every row of the run is in the output table, and return the rows."""
        while (counts := ledger.counts(run.run_id)) is None or counts.in_flight or counts.open_shards:
            time.sleep(POLL_SECONDS)
        with closing(open_output(run.spec.outputs)) as table:
            return [_row(one.video_id, one.info, one.outcome) for one in table.results(run.run_id)]

    def submit(self, paths: Sequence[Path]) -> tuple[Run, Ledger]:
        """Write the input table and submit the run."""
        from tasks.resources.redis import ledger_client
        from tasks.settings import current
        from tasks.submit import prepare, submit

        ledger = Ledger(ledger_client(current()))
        bucket, table = self.directory / "objects" / BUCKET, self.directory / f"in-{len(ledger.runs())}.db"
        for path in paths:
            (bucket / path.name).hardlink_to(path)
        with closing(sqlite3.connect(table)) as db, db:
            db.execute(f"CREATE TABLE v ({COLUMNS})")
            db.executemany("INSERT INTO v VALUES (?, ?, ?, '', '')", [(p.name, BUCKET, p.name) for p in paths])
        manifest = load_manifest(MANIFEST)
        request = prepare(
            f"sqlite:///{table}#v", f"sqlite:///{self.directory}/out.db#r", frozenset(manifest.switches), manifest
        )
        return submit(request, current().flow.shard_rows, ledger).run, ledger


@contextmanager
def tamis_fleet(*, is_null: bool = False, **settings: str) -> Iterator[TamisFleet]:
    """Start `tamis up`, or one without models, and wait until every worker takes messages; drain it after the block.

    The settings are this process's environment too, because it submits the runs: open one fleet in a process.
    """
    with tempfile.TemporaryDirectory(prefix="tamis-bench-fleet-") as name:
        directory = Path(name)
        (directory / "objects" / BUCKET).mkdir(parents=True)
        os.environ |= settings | {
            "TAMIS_STATE_DIR": str(directory / "state"),
            "TAMIS_OBJECT_ROOT": str(directory / "objects"),
            "TAMIS_MANIFEST": MANIFEST,
            "TAMIS_DEVICE": "cpu",
            "TAMIS_NODE": "bench",
            "PYTHONPATH": str(ROOT),
        }
        command = [sys.executable, "-P", "-m", "bench.null.up"] if is_null else [*TAMIS, "up"]
        started = time.perf_counter()
        with (directory / "up.log").open("wb") as log:
            up = subprocess.Popen(command, env=plain_environ(), stdout=log, stderr=log, cwd=directory)
        try:
            importlib.import_module("tasks.submit")  # reads the settings; and a submission should not wait for it
            _wait_until_consuming(up, directory)
            yield TamisFleet(directory, time.perf_counter() - started)
        finally:
            up.send_signal(signal.SIGTERM)
            up.wait()


def _wait_until_consuming(up: subprocess.Popen[bytes], directory: Path) -> None:
    from tasks.node.processes import node_processes
    from tasks.settings import current

    expected = {spec.name for spec in node_processes(current(), [])} - {"beat"}
    deadline = time.monotonic() + START_SECONDS
    while not expected <= _consuming(directory / "state" / "health"):
        if up.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError(f"`tamis up` did not start:\n{(directory / 'up.log').read_text()[-2000:]}")
        time.sleep(POLL_SECONDS)


def _consuming(directory: Path) -> set[str]:
    return {path.stem for path in directory.glob("[a-z]*.json") if json.loads(path.read_text())["phase"] == "consuming"}


def _row(name: str, info: object, outcome: str) -> Row:
    return {"name": name, "info": info} if outcome == "ok" else {"name": name, "error": outcome}
