"""``--json``: every command that reports has it, and prints one document and nothing else on standard output."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner

from storage.ledger import Run
from tasks import pipeline
from tasks.cli import doctor, failures, retry, runs, steer, watch
from tasks.cli.terminal.data_table import DataTable
from tasks.cli.terminal.group import tamis_group
from tasks.cli.terminal.report import print_json
from tasks.resources.runtime import Runtime
from tests.media import write_clip
from tests.unit.storage.ledger.test_figures import judged
from tests.unit.tasks.small_run import ROWS, Published, finish

ROOT = Path(__file__).resolve().parents[4]
WITHOUT = {"up", "profile"}  # one runs a fleet; the other writes its figures to files, JSON among them

Document = dict[str, Any]
Tamis = Callable[..., Document]


def reporting_commands() -> dict[str, click.Command]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    names = set(project["entry-points"]["celery.commands"]) - WITHOUT
    group = tamis_group()
    found = {name: command for name in names if (command := group.get_command(click.Context(group), name))}
    assert found.keys() == names
    for name, command in [*found.items()]:
        if isinstance(command, click.Group):
            found |= {f"{name} {sub}": inner for sub, inner in command.commands.items()}
    return found


def test_every_command_that_reports_has_the_option() -> None:
    lacking = [
        name
        for name, command in reporting_commands().items()
        if not any("--json" in option.opts for option in command.get_params(click.Context(command)))
    ]
    assert lacking == []


def test_no_command_of_celery_hides_one_of_ours() -> None:
    hidden = [name for name, command in reporting_commands().items() if not is_ours(command)]
    assert hidden == []


def is_ours(command: click.Command) -> bool:
    return (getattr(command.callback, "__module__", "") or "").startswith("tasks.")


@pytest.fixture
def tamis(rt: Runtime, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Tamis:
    """Run a command against the test's ledger, without workers; return its document."""
    for module in (failures, retry, runs, steer, watch):
        monkeypatch.setattr(module, "open_ledger", lambda: rt.ledger)
    for module in (retry, steer):
        monkeypatch.setattr(module, "wake_feeder", lambda _: None)
    monkeypatch.setattr(watch, "work_of_workers", lambda *_: ())
    monkeypatch.setattr(runs, "wait_reasons", lambda *_: [])
    monkeypatch.setattr(doctor, "LEDGER_CHECKS", frozenset({"broker", *doctor.LEDGER_CHECKS}))
    monkeypatch.chdir(tmp_path)

    def invoke(*words: str, status: int = 0) -> Document:
        result = CliRunner().invoke(tamis_group(), ["-A", "tasks", *words, "--json"], prog_name="tamis")
        assert result.exit_code == status, result.output
        document: Document = json.loads(result.stdout)
        return document

    return invoke


def complete(run: Run, rt: Runtime) -> None:
    """Judge two rows, and let the others fail."""
    first = True
    while (fed := Published()) is not None and pipeline.feed(run.run_id, rt, fed):
        full = set()
        for row in fed[:2] if first else []:
            if pipeline.record(row, judged(row.ordinal, run.run_id), rt):
                full.add(row.shard_id)
        for shard_id in full | finish(fed[2:] if first else fed, rt):
            pipeline.write_shard(run.run_id, shard_id, rt)
        first = False


def test_a_complete_run_is_shown_by_every_command_about_runs(run: Run, rt: Runtime, tamis: Tamis) -> None:
    complete(run, rt)
    (listed,) = tamis("runs")["runs"]
    assert (listed["run"], listed["state"], listed["ok"], listed["failed"]) == (run.run_id, "complete", 2, ROWS - 2)
    shown = tamis("runs", run.run_id, "--failures", "--export", "out.jsonl")
    assert len(shown["failed_rows"]) == ROWS - 2
    assert shown["exported"] == {"file": "out.jsonl", "rows": ROWS}
    assert shown["filters"] == ["vfx_enable"]
    assert tamis("watch", run.run_id)["tiers"] == {"cpfs": 2}
    assert {one["code"] for one in tamis("failures", run.run_id)["failures"]} == {"not_a_video"}
    assert len(tamis("gallery", "--tables", run.spec.outputs, "--no-strips")["notes"]) == 0
    assert tamis("retry", run.run_id, "--no-wait") == {"run": run.run_id, "tried_again": ROWS - 2, "left": 0}


def test_an_open_run_takes_orders_and_says_what_became_of_it(run: Run, tamis: Tamis) -> None:
    states = [tamis(order, run.run_id)["state"] for order in ("pause", "resume", "cancel")]
    assert states == ["paused", "open", "cancelled"]


def test_findings_of_doctor_are_listed_with_their_remedies(tamis: Tamis) -> None:
    document = tamis("doctor", "--no-models", status=1)
    assert document["is_well"] is False
    wrong = {one["subject"] for one in document["findings"] if not one["is_well"]}
    assert "tiers" in wrong
    assert all(one["remedy"] for one in document["findings"] if not one["is_well"])


def test_pictures_are_counted(tamis: Tamis, tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "a.mp4", 5)
    assert tamis("frames", "-i", str(clip), "-o", "out", "--every", "5", "--processes", "1") == {
        "pictures": 1,
        "directory": str(tmp_path / "out"),
    }


def test_a_table_gives_its_values_as_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    table = DataTable("name", "rows")
    table.add("a", 3)
    print_json({"table": table.documents(), "paths": {Path("x")}})
    assert json.loads(capsys.readouterr().out) == {"table": [{"name": "a", "rows": 3}], "paths": ["x"]}
