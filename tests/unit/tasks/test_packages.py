"""Folders and files with the names of tamis's packages: named where they hide one, harmless in a working directory."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tasks import foreign_modules
from tasks.node.processes import TAMIS
from tests.imports import ROOT

COMMANDS = {
    "tamis doctor": [str(Path(sys.executable).with_name("tamis")), "doctor"],
    "a worker of tamis up": [*TAMIS, "worker"],
    "celery's own worker": [str(Path(sys.executable).with_name("celery")), "-A", "tasks", "worker"],
}


@pytest.fixture
def strangers(tmp_path: Path) -> Path:
    for name in ("storage", "inference", "beat"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").touch()
    (tmp_path / "celeryconfig.py").touch()
    return tmp_path


def run(command: list[str], folder: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = {key: value for key, value in os.environ.items() if not key.startswith("TAMIS_")} | variables
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=60)


@pytest.mark.parametrize("command", COMMANDS.values(), ids=COMMANDS)
def test_a_package_that_hides_ours_is_named_in_one_line(command: list[str], strangers: Path) -> None:
    answer = run(command, strangers, PYTHONPATH=f"{strangers}:{ROOT}")
    assert answer.returncode == 2
    assert answer.stderr.count("\n") == 1
    assert all(f"{name} is {strangers}" in answer.stderr for name in ("storage", "inference", "beat", "celeryconfig"))
    assert "virtual environment" in answer.stderr


@pytest.mark.parametrize("command", [COMMANDS["tamis doctor"][:1], list(TAMIS)], ids=["tamis", "a process of tamis up"])
def test_a_working_directory_with_files_of_our_names_disturbs_no_command(command: list[str], strangers: Path) -> None:
    (strangers / "tasks.py").write_text("raise SystemExit('the wrong tasks')")
    answer = run([*command, "report"], strangers, TAMIS_STATE_DIR=str(strangers / "state"))
    assert answer.returncode == 0, answer.stderr
    assert "task_acks_late: True" in answer.stdout  # of our celeryconfig


def test_a_package_that_is_not_there_is_called_missing(tmp_path: Path) -> None:
    assert foreign_modules(ROOT) == {}
    assert foreign_modules(ROOT, ("storage", "no_such_package")) == {"no_such_package": "missing"}
    assert set(foreign_modules(tmp_path, ("storage",))) == {"storage"}
