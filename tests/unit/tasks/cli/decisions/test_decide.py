"""``tamis decide`` on an output table: counts per output and together, changes, and the table of decisions."""

from __future__ import annotations

import csv
import json
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from storage.records import ResultRow
from storage.tables.sqlite.output import SqliteOutput
from storage.uri import TableUrl
from tasks.cli.decisions import changes
from tasks.cli.decisions import decide as module
from tasks.cli.decisions.decide import decide
from tasks.settings import Settings
from tests.unit.storage.tables.table_rows import EXECUTION, failed, record_of

THRESHOLDS = """
[thresholds.vfx_filter]
max = 0.5
[thresholds.seg_low_quality_filter]
max = 0.5
share = 0.3
"""


def judged(ordinal: int, vfx: float, *windows: float, before: str | None = None) -> ResultRow:
    info: dict[str, Any] = {"vfx_filter": entry("VFX_video", vfx)}
    if windows:
        info["seg_low_quality_filter"] = {
            str(place): {"duration": [3 * place, 3 * place + 4], "low_quality_filter": entry("low_quality_video", one)}
            for place, one in enumerate(windows)
        }
    decision = {"keep": before, "reasons": [], "decided_by": "f" * 64} if before else None
    execution = replace(EXECUTION, decision=decision)
    record = record_of(ordinal)
    return ResultRow.succeeded(record, run_id="run", ordinal=ordinal, verdict_info=info, execution=execution)


def entry(label: str, value: float) -> dict[str, Any]:
    result = {label: value, "normal_video": round(1 - value, 6)}
    return {"result": result, "label": max(result, key=lambda name: result[name]), "prob": max(result.values())}


ROWS = [
    judged(0, 0.1, 0.1, 0.1, before="keep"),
    judged(1, 0.9, 0.1, 0.1, before="keep"),
    judged(2, 0.1, 0.9, 0.9, before="drop"),
    judged(3, 0.1, before="drop"),  # its windows were not judged
    failed(4),
]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "thresholds.toml").write_text(THRESHOLDS)
    (tmp_path / "loose.toml").write_text("[thresholds.vfx_filter]\nmax = 0.95\n")
    with closing(SqliteOutput(TableUrl.parse(f"sqlite:///{tmp_path}/out.db#results"))) as table:
        table.prepare(())
        table.write_batch("batch", ROWS)
    return tmp_path


def run(*arguments: str) -> Result:
    return CliRunner().invoke(decide, ["--tables", "sqlite:///out.db#results", *arguments])


def counts(*arguments: str) -> dict[str, Any]:
    answer = run("--json", *arguments)
    assert answer.exit_code == 0, answer.output
    found: dict[str, Any] = json.loads(answer.stdout)
    return found


@pytest.mark.usefixtures("folder")
def test_clips_are_counted_for_each_output_alone_and_for_all_together() -> None:
    found = counts("--thresholds", "thresholds.toml")
    assert (found["run"], found["judged"], found["failed"]) == ("run", 4, 1)
    assert (found["keep"], found["drop"], found["review"]) == (1, 2, 1)
    assert found["outputs"] == {
        "vfx_filter": {"keep": 3, "drop": 1, "review": 0, "not_judged": 0},
        "seg_low_quality_filter": {"keep": 2, "drop": 1, "review": 0, "not_judged": 1},
    }
    assert len(found["decided_by"]) == 64


@pytest.mark.usefixtures("folder")
def test_changes_are_those_from_the_stored_decisions_or_from_other_thresholds() -> None:
    stored = counts("--thresholds", "thresholds.toml")["changes"]
    assert stored == [
        {"before": "drop", "after": "review", "clips": 1},
        {"before": "keep", "after": "drop", "clips": 1},
    ]
    against = counts("--thresholds", "thresholds.toml", "--against", "loose.toml")["changes"]
    assert against == [
        {"before": "keep", "after": "drop", "clips": 2},
        {"before": "keep", "after": "review", "clips": 1},
    ]


@pytest.mark.usefixtures("folder")
def test_the_number_of_kept_clips_is_known_before_and_after_for_each_output_and_all_together() -> None:
    assert counts("--thresholds", "thresholds.toml")["kept_before"] == {"all together": 2}
    found = counts("--thresholds", "thresholds.toml", "--against", "loose.toml")
    assert found["kept_before"] == {"vfx_filter": 4, "all together": 4}
    assert (found["outputs"]["vfx_filter"]["keep"], found["keep"]) == (3, 1)


@pytest.mark.usefixtures("folder")
def test_the_tables_show_shares_and_the_clips_that_change_sides() -> None:
    answer = run("--thresholds", "thresholds.toml")
    assert answer.exit_code == 0, answer.output
    assert "all together" in answer.output
    assert "1 (25.0 %)" in answer.output
    assert "1 failed rows have no decision" in answer.output
    assert "not_judged:seg_low_quality_filter" in answer.output


def test_the_decision_table_has_a_row_per_judged_clip_with_reasons_and_the_digest(folder: Path) -> None:
    answer = run("--thresholds", "thresholds.toml", "-o", "decisions.jsonl")
    assert answer.exit_code == 0, answer.output
    rows = [json.loads(line) for line in (folder / "decisions.jsonl").read_text().splitlines()]
    assert [(row["video_id"], row["decision"], row["before"]) for row in rows] == [
        ("v0", "keep", "keep"),
        ("v1", "drop", "keep"),
        ("v2", "drop", "drop"),
        ("v3", "review", "drop"),
    ]
    run("--thresholds", "thresholds.toml", "-o", "changes.csv", "--changes-only")
    with (folder / "changes.csv").open(newline="") as file:
        assert [row["video_id"] for row in csv.DictReader(file)] == ["v1", "v3"]
    assert [row["drop_reason"] for row in rows[1:3]] == ["vfx_filter", "seg_low_quality_filter"]
    assert {row["decided_by"] for row in rows} == {counts("--thresholds", "thresholds.toml")["decided_by"]}


def test_several_processes_decide_as_one_does(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = counts("--thresholds", "thresholds.toml", "-o", "one.jsonl")
    monkeypatch.setattr(module, "BLOCK_ROWS", 2)
    monkeypatch.setattr(module, "MIN_BLOCKS", 1)
    monkeypatch.setattr(module, "usable_cores", lambda: 2)
    assert counts("--thresholds", "thresholds.toml", "-o", "two.jsonl") == expected
    assert (folder / "two.jsonl").read_text() == (folder / "one.jsonl").read_text()


def label(folder: Path, keep: int, drop: int) -> None:
    """Write a run of good clips with low and bad clips with high scores, and their labels."""
    rows = [judged(n, n / 1000) for n in range(keep)] + [judged(keep + n, 0.2 + n / 10) for n in range(drop)]
    with closing(SqliteOutput(TableUrl.parse(f"sqlite:///{folder}/labelled.db#results"))) as table:
        table.prepare(())
        table.write_batch("batch", rows)
    decisions = ("keep" if row.ordinal < keep else "drop" for row in rows)
    lines = [
        {"run_id": "run", "ordinal": row.ordinal, "decision": one} for row, one in zip(rows, decisions, strict=True)
    ]
    lines.append({"run_id": "another run", "ordinal": 0, "decision": "drop"})
    (folder / "labels.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


def test_the_lowest_max_that_loses_few_good_clips_is_suggested(folder: Path) -> None:
    label(folder, keep=400, drop=5)
    words = ("--tables", "sqlite:///labelled.db#results", "--thresholds", "loose.toml", "--labels", "labels.jsonl")
    answer = CliRunner().invoke(decide, [*words, "--max-loss", "0.02", "--json"])
    assert answer.exit_code == 0, answer.output
    (found,) = json.loads(answer.stdout)
    assert (found["output"], found["good"], found["bad"], found["caught"]) == ("vfx_filter", 400, 5, 3)
    assert found["target"]["lost"] == 3
    assert found["target"]["max"] == 0.396
    assert found["target"]["bound"] <= 0.02
    shown = CliRunner().invoke(decide, [*words, "--max-loss", "0.001"])
    assert "400 good clips, 2995 are needed" in " ".join(shown.output.split())


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "manifest tiny has no thresholds: name a file with --thresholds"),
        (("--thresholds", "absent.toml"), "absent.toml cannot be read"),
        (("--thresholds", "thresholds.toml", "-o", "out.xlsx"), "its name must end in .jsonl, .csv"),
        (("--thresholds", "thresholds.toml", "--run", "other"), "'other' is no run"),
        (("--thresholds", "thresholds.toml", "--max-loss", "0.1"), "--labels and --max-loss need each other"),
        (
            ("--thresholds", "thresholds.toml", "--max-loss", "0.1", "--labels", "sqlite:///out.db#results"),
            "has no column decision",
        ),
    ],
)
def test_a_mistake_is_one_line_with_its_remedy(arguments: tuple[str, ...], message: str) -> None:
    answer = run(*arguments)
    assert answer.exit_code == 2
    assert message in answer.output


def test_the_gallery_shows_exactly_the_clips_that_change_sides_with_their_old_and_new_decision(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "objects").mkdir()
    monkeypatch.setattr(changes, "settings", lambda: Settings.of(object_root=folder / "objects"))
    found = counts("--thresholds", "thresholds.toml", "--gallery", "sides")
    assert found["page"] == (folder / "sides" / "index.html").as_uri()
    page = json.loads((folder / "sides" / "data" / "table.js").read_text()[len("tamisTable(") : -len(");\n")])
    assert page["rows"] == sum(one["clips"] for one in found["changes"])
    expected = {f"{one['before']} → {one['after']}" for one in found["changes"]}
    assert set(page["changes"]["names"]) == expected
    same = run("--thresholds", "thresholds.toml", "--against", "thresholds.toml", "--gallery", "none")
    assert "no clip changes sides: no gallery is written" in same.output
    assert not (folder / "none").exists()
