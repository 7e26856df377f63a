"""A profile as a task on a real worker, whose CSV and report come back, and a trace of what that worker does next."""

from __future__ import annotations

import csv
import os
import shutil
import subprocess
import sys
from pathlib import Path

from tests.fleet.processes import WorkerProcess
from tests.media import real_clip
from tests.valkey import ValkeyServer


def test_a_profile_on_a_node_comes_back_as_files_and_its_worker_takes_a_trace(
    server: ValkeyServer, tmp_path: Path
) -> None:
    clip = tmp_path / "objects" / "bucket" / "a.mp4"
    clip.parent.mkdir(parents=True)
    shutil.copy(real_clip("a.mp4"), clip)
    environ = os.environ | {
        "TAMIS_BROKER_URL": server.url,
        "TAMIS_STATE_DIR": str(tmp_path / "state"),
        "TAMIS_OBJECT_ROOT": str(tmp_path / "objects"),
        "TAMIS_NODE": "lab",
    }
    tamis = [sys.executable, "-m", "tasks"]
    with (tmp_path / "worker.log").open("wb") as log:
        process = subprocess.Popen(
            [*tamis, "worker", "-Q", "gpu.lab", "-P", "threads", "-c", "1", "-l", "INFO"],
            env=environ,
            stdout=log,
            stderr=log,
        )
    worker = WorkerProcess("lab", process, tmp_path / "worker.log")
    try:
        worker.wait_for(r"@\S+ ready\.", 120.0)
        words = ["--model-name", "shufflenet_v2_x0_5", "--input_path", str(clip), "--input-sizes", "64"]
        words += ["--max-steps", "5", "--on", "gpu.lab", "--output-dir", str(tmp_path / "back")]
        command = [*tamis, "profile", *words]
        asked = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=180, check=False)
        assert asked.returncode == 0, asked.stderr + worker.log()
        control = [*tamis, "control", "--timeout", "10", "trace", "torch", "3"]
        traced = subprocess.run(control, env=environ, capture_output=True, text=True, timeout=60, check=False)
        assert "tracing the next 3 videos" in traced.stdout, traced.stderr + worker.log()
    finally:
        worker.kill()
    assert "verdict:" in asked.stdout
    (metrics,) = (tmp_path / "back").glob("M_shufflenet_v2_x0_5_P_*_metrics.csv")
    with metrics.open(newline="") as lines:
        assert len(list(csv.DictReader(lines))) == 8
    (report,) = (tmp_path / "back").glob("*_report.html")
    assert "</html>" in report.read_text()
