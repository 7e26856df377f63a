"""The GPU bench on a CPU: it runs to its end, prints and stores its figures, and needs only common packages."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from bench.accelerator.setting import FigureRow
from bench.gpu import SECTIONS, table

ROOT = Path(__file__).resolve().parents[2]
ABSENT = ("pydantic", "av", "celery", "kombu", "redis", "rich", "psutil", "pyarrow", "ultralytics", "click")
PROGRAM = f"""
import sys
sys.modules.update(dict.fromkeys({ABSENT!r}))  # importing one of them now fails as if it were not installed
from bench.gpu import main
sys.exit(main(sys.argv[1:]))
"""


@pytest.fixture(scope="module")
def ran(tmp_path_factory):
    path = tmp_path_factory.mktemp("gpu") / "gpu.json"
    words = ["--tiny", "--seconds", "20", "--device", "cpu", "--json", str(path)]
    command = [sys.executable, "-W", "error::DeprecationWarning:bench", "-c", PROGRAM, *words]
    answer = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=200)
    assert answer.returncode == 0, answer.stderr
    return answer.stdout, json.loads(path.read_text())


def test_the_gpu_bench_runs_with_pytorch_and_transformers_alone(ran):
    said, stored = ran
    assert set(stored["sections"]) == set(SECTIONS)
    assert all(f"{letter}  {SECTIONS[letter][0]}" in said for letter in SECTIONS)
    assert "limit: " in said


def test_every_measurement_succeeds(ran):
    _, stored = ran
    rows = [row for section in stored["sections"].values() for row in section]
    assert not [row for row in rows if "failed" in row]
    assert all(len(row) > 1 for row in rows)


def test_the_gpu_bench_lists_what_it_could_not_measure(ran):
    said, _ = ran
    assert "CUDA graphs and a choice of attention kernels need a GPU: not run" in said


def test_a_measurement_that_failed_or_was_not_run_stands_in_the_table():
    failed, missed = {"failed": "RuntimeError: no kernel"}, {"not run": "no time"}
    said = table([FigureRow("a", {"ms": 1.23456}), FigureRow("b", failed), FigureRow("c", missed)])
    assert said.splitlines() == ["      ms", "a  1.235", "b  failed: RuntimeError: no kernel", "c  not run: no time"]
