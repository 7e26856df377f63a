"""The checks of `tamis up` before it starts: each problem with its remedy, fatal or not."""

from __future__ import annotations

import resource
import socket
import tempfile
from pathlib import Path

import pytest

from inference.manifest import load_manifest
from storage.errors import UsageError
from tasks.cli.checks import preflight
from tasks.cli.checks.preflight import broker_problems, busy_port_problems, directory_fault, find_problems
from tasks.settings import Settings
from tasks.submit import prepare
from tests.valkey import ValkeyServer


def found(tmp_path: Path, **settings: object) -> dict[str, bool]:
    """Return the printed problem -> whether it is fatal."""
    (tmp_path / "objects").mkdir(exist_ok=True)
    given = {"state_dir": tmp_path, "object_root": tmp_path / "objects", "disk_limit_bytes": 1} | settings
    return {str(problem): problem.is_fatal for problem in find_problems(Settings.of(**given))}


def test_a_sound_machine_has_no_problem(tmp_path: Path) -> None:
    assert found(tmp_path) == {}


def test_an_object_store_that_is_not_mounted_is_fatal_and_a_faster_tier_is_not(tmp_path: Path) -> None:
    absent = tmp_path / "absent"
    fault = f"{absent}: it is not a directory that can be read: mount it, or correct"
    assert found(tmp_path, object_root=absent, cpfs_root=absent) == {
        f"TAMIS_OBJECT_ROOT={fault} TAMIS_OBJECT_ROOT": True,
        f"TAMIS_CPFS_ROOT={fault} TAMIS_CPFS_ROOT": False,
    }


def test_no_tier_at_all_is_fatal(tmp_path: Path) -> None:
    (problem,) = find_problems(Settings.of(state_dir=tmp_path, disk_limit_bytes=1))
    assert "TAMIS_OBJECT_ROOT" in str(problem)
    assert problem.is_fatal


def test_a_directory_on_a_dead_mount_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    def hang(*_: object) -> list[bool]:
        raise TimeoutError

    monkeypatch.setattr(preflight, "stream_within", hang)
    assert directory_fault(Path("/dead"), 5.0) == "it does not answer within 5 s"


def test_a_spool_that_is_larger_than_its_disk_is_a_warning(tmp_path: Path) -> None:
    ((text, is_fatal),) = found(tmp_path, disk_limit_bytes=10**18).items()
    assert "TAMIS_DISK_LIMIT_BYTES" in text
    assert not is_fatal


def test_without_a_directory_for_temporary_files_nothing_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none_is_writable() -> str:
        raise FileNotFoundError

    monkeypatch.setattr(tempfile, "gettempdir", none_is_writable)
    assert found(tmp_path) == {
        "temporary directory: none is writable: make /tmp writable, or set TMPDIR to one that is": True
    }


def test_too_few_open_files_are_named_with_the_limit_to_raise(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _: (64, 64))
    ((text, is_fatal),) = found(tmp_path).items()
    assert "a process may open 64, and needs 256" in text
    assert "ulimit -n" in text
    assert is_fatal


def test_the_production_manifest_with_seeded_weights_is_refused_unless_allowed(tmp_path: Path) -> None:
    ((text, is_fatal),) = found(tmp_path, manifest="production").items()
    assert "TAMIS_ALLOW_UNTRAINED=true" in text
    assert is_fatal
    assert found(tmp_path, manifest="production", allow_untrained=True) == {}


def test_a_missing_checkpoint_and_a_missing_manifest_are_named(tmp_path: Path) -> None:
    tiny = Path(load_manifest("tiny").directory / "tiny.toml").read_text()
    (tmp_path / "mine.toml").write_text(tiny.replace('weights = "seed:11"', 'weights = "checkpoints/vfx"'))
    ((text, is_fatal),) = found(tmp_path, manifest=str(tmp_path / "mine.toml")).items()
    assert text.startswith("weights heads.vfx: ")
    assert is_fatal
    assert any("huge" in problem for problem in found(tmp_path, manifest="huge"))


def test_a_wrong_sources_file_is_a_warning(tmp_path: Path) -> None:
    (tmp_path / "sources.toml").write_text("[[source]]\n")
    ((text, is_fatal),) = found(tmp_path, sources=tmp_path / "sources.toml").items()
    assert "name is missing" in text
    assert not is_fatal


def test_a_run_under_the_seeded_production_manifest_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="TAMIS_ALLOW_UNTRAINED"):
        prepare("in.jsonl", f"sqlite:///{tmp_path}/out.db#r", frozenset({"vfx_enable"}), load_manifest("production"))


def test_a_metrics_port_that_another_process_has_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        (problem,) = busy_port_problems(Settings.of(metrics_port=port), workers=1)
    assert str(problem).startswith(f"metrics: 127.0.0.1:{port} cannot be opened (Address already in use")
    assert list(busy_port_problems(Settings.of(), workers=3)) == []


def test_a_broker_that_does_not_answer_is_a_warning_without_its_password(server: ValkeyServer) -> None:
    (problem,) = broker_problems(Settings.of(broker_url="redis://u:hunter2@127.0.0.1:1/0"))
    assert not problem.is_fatal
    assert "127.0.0.1:1" in str(problem)
    assert "hunter2" not in str(problem)
    assert list(broker_problems(Settings.of(broker_url=server.url))) == []
    assert list(broker_problems(Settings.of())) == []
