"""A worker on a host whose clock is off ends before it takes a message."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.fleet.processes import REPOSITORY
from tests.valkey import ValkeyServer

PROGRAM = """
import runpy, sys, time
true_time, ahead_seconds = time.time, float(sys.argv.pop(1))
time.time = lambda: true_time() + ahead_seconds
runpy.run_module("tasks", run_name="__main__", alter_sys=True)
"""


def test_a_worker_whose_clock_is_off_ends_before_it_takes_a_message(server: ValkeyServer, tmp_path: Path) -> None:
    environ = {**os.environ, "PYTHONPATH": str(REPOSITORY), "TAMIS_BROKER_URL": server.url, "TAMIS_NODE": "n1"}
    environ["TAMIS_STATE_DIR"] = str(tmp_path)
    worker = ["worker", "--queues=results,control", "--hostname=results@n1", "--pool=threads", "--without-mingle"]
    ended = subprocess.run(
        [sys.executable, "-c", PROGRAM, "12.0", *worker],
        env=environ, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert ended.returncode == 1, ended.stderr
    assert (
        "results@n1 takes no messages: its clock is 12.0 s ahead of the ledger's server; the limit is 4 s"
        in ended.stderr
    )
    assert "synchronise the clocks" in ended.stderr
