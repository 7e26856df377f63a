"""The folders of compiled kernels: named to the libraries, made, and checked to be writable."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tasks.resources.kernel_caches import FOLDERS, keep_kernels


@pytest.fixture(autouse=True)
def unset(monkeypatch: pytest.MonkeyPatch) -> None:
    """Start without the variables, and remove what a test sets."""
    for name in FOLDERS:
        monkeypatch.setenv(name, "")  # remembered, so that it is restored
        monkeypatch.delenv(name)


def test_the_libraries_are_told_folders_of_the_state_directory_that_exist(tmp_path: Path) -> None:
    assert keep_kernels(tmp_path) == []
    assert {os.environ[name] for name in FOLDERS} == {str(tmp_path / "kernels" / own) for own in ("miopen", "inductor")}
    assert all(Path(os.environ[name]).is_dir() for name in FOLDERS)


def test_a_folder_that_the_operator_names_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MIOPEN_USER_DB_PATH", str(tmp_path / "own"))
    assert keep_kernels(tmp_path / "state") == []
    assert os.environ["MIOPEN_USER_DB_PATH"] == str(tmp_path / "own")


def test_a_folder_that_cannot_be_made_is_named_with_the_reason(tmp_path: Path) -> None:
    (tmp_path / "kernels").write_text("a file is in the way")
    faults = keep_kernels(tmp_path)
    assert len(faults) == len(FOLDERS)
    assert all("kernels/" in fault and "director" in fault.lower() for fault in faults)
