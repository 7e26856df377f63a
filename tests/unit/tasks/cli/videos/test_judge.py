"""``tamis judge``: real files, the tiny manifest's models, no broker and no table."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from tasks.cli.videos.judge import judge, scored_cell
from tests.media import real_clip

FAST = ("--abnormal_region_enable", "false", "--com_enable", "false", "--low_quality_enable", "false")


def run(*arguments: str) -> Result:
    return CliRunner().invoke(judge, [*arguments, *FAST])


def test_files_are_judged_without_a_fleet_and_bad_ones_get_a_line_each_and_status_1(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bad = "bad[red]\x1b.mp4"
    (tmp_path / bad).write_text("no video")
    monkeypatch.chdir(tmp_path)
    answer = run(str(real_clip("b.mp4")), bad, "absent.mp4")
    assert answer.exit_code == 1, answer.stderr
    assert "rotate vertical" in answer.stdout
    assert "low quality" not in answer.stdout
    lines = answer.stderr.strip().splitlines()
    assert lines[0].startswith(r"bad[red]\x1b.mp4: not_a_video: ")
    assert lines[1] == "absent.mp4: unreadable_file: No such file or directory"
    assert lines[2].startswith("warning: these verdicts come from untrained weights")
    assert [path.name for path in tmp_path.iterdir()] == [bad]  # no state of a fleet


def test_json_has_an_object_per_file_in_the_order_of_the_files(tmp_path: Path) -> None:
    broken = tmp_path / "broken.mp4"
    broken.write_text("no video")
    answer = run("--json", str(broken), str(real_clip("b.mp4")))
    assert answer.exit_code == 1
    first, second = map(json.loads, answer.stdout.splitlines())
    assert (first["file"], first["error"]["code"]) == (str(broken), "not_a_video")
    assert set(second["info"]) == {"vfx_filter", "rotate_vertical_filter"}
    assert set(second["models"]) == {"vfx", "rov"}
    assert second["untrained"] is True
    assert second["stages"]["score"] > 0


def test_judged_files_alone_end_with_status_0() -> None:
    answer = run(str(real_clip("b.mp4")))
    assert (answer.exit_code, answer.stderr.splitlines()[0][:8]) == (0, "warning:")


@pytest.mark.parametrize(
    ("entry", "text"),
    [
        ({"result": {}, "label": "normal_video", "prob": 0.876}, "normal 0.88"),
        ({"boxes": [], "regions": [{"label": "logo"}, {"label": "border"}, {"label": "logo"}]}, "logo, border"),
        ({"boxes": [], "regions": []}, "none"),
        ({"result": {}, "label": "unsure", "prob": None}, "unsure"),
        (None, "–"),
    ],
)
def test_a_cell_holds_label_and_probability_or_the_labels_of_regions(entry: object, text: str) -> None:
    assert scored_cell("key", {"key": entry}) == text
