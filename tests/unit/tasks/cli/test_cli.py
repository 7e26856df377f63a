"""Mistakes of an operator: each gives one line with the value and the remedy, exit status 2, no traceback."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from importlib.metadata import version
from pathlib import Path

import click
import pytest
from click.shell_completion import ShellComplete
from click.testing import CliRunner

from tasks.cli import main
from tasks.cli.terminal import switches
from tasks.cli.terminal.group import FLOWER_CONFIG, GROUPS, tamis_group, with_flower_config
from tasks.settings import Settings

GOOD_COLUMNS = "video_id TEXT, oss_bucket TEXT, video_path TEXT, video_tag TEXT, info TEXT"


def tamis(*arguments: str, cwd: Path, **environ: str) -> subprocess.CompletedProcess[str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("TAMIS_")}
    clean["TAMIS_MANIFEST"] = "tiny"
    command = [sys.executable, "-c", "import sys; from tasks.cli import main; sys.exit(main())", *arguments]
    return subprocess.run(
        command, cwd=cwd, env=clean | environ, capture_output=True, text=True, timeout=60, check=False
    )


def the_line(answer: subprocess.CompletedProcess[str]) -> str:
    assert answer.returncode == 2, answer.stdout + answer.stderr
    assert "Traceback" not in answer.stdout + answer.stderr
    lines = answer.stderr.strip().splitlines()
    assert len(lines) == 1, answer.stderr
    return lines[0]


@pytest.fixture
def input_url(tmp_path: Path) -> str:
    with closing(sqlite3.connect(tmp_path / "in.db")) as db, db:
        db.execute(f"CREATE TABLE good ({GOOD_COLUMNS}, ds TEXT)")
        db.execute("INSERT INTO good VALUES ('v', 'b', 'k', '', '', '1')")
        db.execute("CREATE TABLE lacking (video_id TEXT, video_path TEXT, info TEXT)")
    return f"sqlite:///{tmp_path}/in.db"


def sift(tables: str, tmp_path: Path, *extra: str, outputs: str = "sqlite:///out.db#r", **environ: str) -> str:
    """Return the error line of `tamis sift`: of another process, or of this one if no setting differs."""
    words = ("sift", "--tables", tables, "--outputs", outputs, *extra)
    if environ:
        return the_line(tamis(*words, cwd=tmp_path, **environ))
    with contextlib.chdir(tmp_path):
        answer = CliRunner().invoke(tamis_group(), ["-A", "tasks", *words], prog_name="tamis")
    assert answer.exit_code == 2, answer.output
    (line,) = answer.stderr.strip().splitlines()
    return line


@pytest.mark.parametrize("url", ["nonsense", "mysql://h/t", "sqlite:///x.db", "", "sqlite:///x.db#t/ds"])
def test_a_wrong_table_url_is_named(url: str, tmp_path: Path) -> None:
    line = sift(url, tmp_path)
    assert repr(url) in line or url in line
    assert "sqlite:///" in line  # an example of a valid URL


def test_a_missing_file_table_or_partition_is_named_with_those_that_exist(input_url: str, tmp_path: Path) -> None:
    assert "nowhere.db" in sift("sqlite:///nowhere.db#t", tmp_path)
    line = sift(f"{input_url}#absent", tmp_path)
    assert "absent" in line
    assert "good" in line
    line = sift(f"{input_url}#good/ds=2", tmp_path)
    assert "ds=2" in line
    assert "ds=1" in line


def test_missing_columns_are_all_named(input_url: str, tmp_path: Path) -> None:
    line = sift(f"{input_url}#lacking", tmp_path)
    assert all(name in line for name in ("oss_bucket", "video_tag"))


def test_a_file_as_output_names_the_remedy(input_url: str, tmp_path: Path) -> None:
    assert "--export" in sift(f"{input_url}#good/ds=1", tmp_path, outputs="out.jsonl")


def test_without_a_broker_the_error_says_how_to_start_one(input_url: str, tmp_path: Path) -> None:
    assert "tamis up" in sift(f"{input_url}#good/ds=1", tmp_path)
    line = sift(f"{input_url}#good/ds=1", tmp_path, TAMIS_BROKER_URL="redis://u:hunter2@127.0.0.1:1/0")
    assert "127.0.0.1:1" in line
    assert "hunter2" not in line


@pytest.mark.parametrize("arguments", [["runs"], ["retry", "abc"]])
def test_other_commands_without_a_broker_give_the_same_remedy(arguments: list[str], tmp_path: Path) -> None:
    line = the_line(tamis(*arguments, cwd=tmp_path))
    assert "tamis up" in line
    assert f"state directory {tmp_path / '.tamis'}" in line


@pytest.mark.parametrize(
    "command", [["sift", "--tables", "a", "--outputs", "b"], ["worker"], ["inspect", "ping"], ["beat"]]
)
def test_an_unknown_setting_stops_every_command(command: list[str], tmp_path: Path) -> None:
    line = the_line(tamis(*command, cwd=tmp_path, TAMIS_SHARDROWS="5"))
    assert "TAMIS_SHARDROWS" in line
    assert "TAMIS_SHARD_ROWS" in line


def test_a_missing_manifest_is_named(input_url: str, tmp_path: Path) -> None:
    assert "huge" in sift(f"{input_url}#good/ds=1", tmp_path, TAMIS_MANIFEST="huge")


def test_switching_every_filter_off_is_refused(input_url: str, tmp_path: Path) -> None:
    switches = ["vfx_enable", "com_enable", "rov_enable", "low_quality_enable", "abnormal_region_enable"]
    off = [word for switch in switches for word in (f"--{switch}", "false")]
    assert "--vfx_enable true" in sift(f"{input_url}#good/ds=1", tmp_path, *off)


@pytest.mark.parametrize("command", ["up", "sift", "runs", "retry", "compact", "doctor", "features", "frames", "trace"])
def test_every_command_has_a_usage_line(command: str) -> None:
    assert in_process(command, "--help").startswith("Usage: tamis")


def in_process(*arguments: str) -> str:
    """Run the command line in this process, which is quicker than another one; return its output."""
    answer = CliRunner().invoke(tamis_group(), ["-A", "tasks", *arguments], prog_name="tamis")
    assert answer.exit_code == 0, answer.output
    return answer.output


@pytest.mark.parametrize("option", ["--help", "-h"])
def test_the_help_has_tamis_commands_in_groups_before_celerys_under_one_heading(option: str) -> None:
    ours, celerys = in_process(option).split("Celery's own commands")
    for heading, names in GROUPS.items():
        section = ours.split(f"{heading}:")[1]
        assert all(f"\n  {name}" in section for name in names)
    assert all(f"\n  {name}" in celerys for name in ("worker", "beat", "inspect", "control"))
    assert "..." not in ours  # whole sentences


def test_without_arguments_the_help_is_printed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["tamis"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 0
    assert "Run a fleet:" in capsys.readouterr().out


def test_the_version_is_that_of_tamis() -> None:
    assert in_process("--version").strip() == f"tamis, version {version('tamis')}"


@pytest.mark.parametrize("command", ["worker", "ingest"])
def test_a_commands_help_is_shown_for_the_short_option_too(command: str, tmp_path: Path) -> None:
    answer = tamis(command, "-h", cwd=tmp_path)  # another process: click remembers a command's first help option
    assert answer.returncode == 0, answer.stderr
    assert answer.stdout.startswith(f"Usage: tamis {command}")
    assert "-h, --help" in answer.stdout


def test_a_command_is_imported_when_it_is_named_and_no_other_with_it() -> None:
    group = tamis_group()
    command = group.get_command(click.Context(group), "sift")
    assert command is not None
    assert command.name == "sift"
    assert {"runs", "doctor", "flower"}.isdisjoint(group.commands)


@pytest.mark.parametrize(
    ("words", "incomplete", "expected"), [([], "ret", "retry"), (["sift"], "--vfx", "--vfx_enable")]
)
def test_commands_and_options_are_completed(words: list[str], incomplete: str, expected: str) -> None:
    completion = ShellComplete(tamis_group(), {}, "tamis", "_TAMIS_COMPLETE")
    assert [found.value for found in completion.get_completions(words, incomplete)] == [expected]


def test_completion_shows_no_error_where_the_manifest_is_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(switches, "settings", lambda: Settings.of(manifest="huge"))
    completion = ShellComplete(tamis_group(), {}, "tamis", "_TAMIS_COMPLETE")
    assert [found.value for found in completion.get_completions(["sift"], "--out")] == ["--outputs"]


@pytest.mark.parametrize(
    ("given", "has_ours"),
    [(["flower", "--port=1"], True), (["flower", "--conf=mine.py"], False), (["worker"], False), ([], False)],
)
def test_flower_gets_our_configuration_unless_another_is_given(given: list[str], has_ours: bool) -> None:
    assert with_flower_config(given) == [*given, *([f"--conf={FLOWER_CONFIG}"] if has_ours else [])]
    assert FLOWER_CONFIG.is_file()


def test_doctor_without_a_fleet_names_the_broker_and_the_remedy(tmp_path: Path) -> None:
    answer = tamis("doctor", "--no-models", cwd=tmp_path)
    assert answer.returncode == 1
    assert "tamis up" in answer.stdout
    assert "TAMIS_OBJECT_ROOT" in answer.stdout
    assert "Traceback" not in answer.stdout + answer.stderr
