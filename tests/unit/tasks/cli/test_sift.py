"""`tamis sift`: its options, its file of options, and what --dry-run says, in the test's own process."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from tasks.cli.terminal.group import tamis_group
from tasks.cli.videos import previews
from tasks.cli.videos.sift_videos import SiftOrder
from tasks.settings import Settings
from tests.media import write_clip
from tests.small_manifest import SMALL

Sift = Callable[..., Result]
ROW = {"video_id": "v", "oss_bucket": "bucket", "video_path": "a.mp4", "video_tag": "street", "info": ""}


@pytest.fixture
def sift(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Sift:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(previews, "answers", lambda _: False)
    (tmp_path / "clips" / "street").mkdir(parents=True)
    (tmp_path / "real").mkdir()
    for name, size in (("a.mp4", 10), ("street/b.mp4", 200)):
        (tmp_path / "clips" / name).write_bytes(bytes(size))
    rows = [ROW | {"video_id": f"v{number}", "video_tag": ("street", "city")[number % 2]} for number in range(10)]
    (tmp_path / "in.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return lambda *words: CliRunner().invoke(tamis_group(), ["-A", "tasks", "sift", *words], prog_name="tamis")


def previewed(result: Result) -> dict[str, object]:
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)  # type: ignore[no-any-return]


def test_a_dry_run_of_a_folder_names_its_rows_and_their_size_and_creates_nothing(sift: Sift, tmp_path: Path) -> None:
    before = sorted(tmp_path.rglob("*"))
    found = previewed(sift("clips", "--dry-run", "--no-estimate", "--json"))
    assert (found["rows"], found["bytes"], found["rows_in_output"], found["is_fleet_up"]) == (2, 210, 0, False)
    assert found["output"] == f"sqlite:///{tmp_path}/clips-tamis/results.db#results"
    street = previewed(sift("clips", "--dry-run", "--no-estimate", "--json", "--where", "tag = 'street'"))
    assert (street["rows"], street["bytes"]) == (1, 200)
    assert street["run"] != found["run"]
    assert "size: 210 B" in sift("clips", "--dry-run", "--no-estimate").stdout
    assert sorted(tmp_path.rglob("*")) == before


def test_a_dry_run_of_a_folder_estimates_the_run_in_place(
    sift: Sift, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(4):
        write_clip(tmp_path / "real" / f"{number}.mp4", 10)
    (tmp_path / "small.toml").write_text(SMALL)
    chosen = Settings.of(state_dir=tmp_path / "state", manifest=str(tmp_path / "small.toml"), decoder_children=1)
    monkeypatch.setattr(previews, "settings", lambda: chosen)
    order = SiftOrder(frozenset({"vfx_enable"}), has_flat_columns=False, has_gallery=False, is_json=True)
    shown = previews.preview_of_videos(["real"], order, has_estimate=True)
    assert shown.estimate is not None
    assert (shown.run.rows, shown.judged) == (4, 4)
    assert shown.estimate.finish_seconds.low > 0
    assert not (tmp_path / "real-tamis").exists()
    none = previews.preview_of_videos(["clips"], order, has_estimate=True)
    assert (none.run.rows, none.estimate) == (2, None), "no video of it can be judged"


def test_a_dry_run_of_a_table_counts_the_selected_rows(sift: Sift, tmp_path: Path) -> None:
    words = ("--tables", "in.jsonl", "--outputs", "sqlite:///out.db#r", "--dry-run", "--no-estimate", "--json")
    assert previewed(sift(*words))["rows"] == 10
    assert previewed(sift(*words, "--where", "tag = 'city'"))["rows"] == 5
    assert previewed(sift(*words, "--where", "tag = 'city'", "--limit", "2"))["rows"] == 2
    assert not (tmp_path / "out.db").exists()


def test_options_come_from_a_file_and_the_command_line_goes_first(sift: Sift, tmp_path: Path) -> None:
    (tmp_path / "run.toml").write_text(
        'tables = "in.jsonl"\noutputs = "sqlite:///out.db#r"\nlimit = 4\n'
        "dry-run = true\nestimate = false\njson = true\nvfx_enable = false\n"
    )
    found = previewed(sift("--config", "run.toml"))
    assert found["rows"] == 4
    assert "vfx_enable" not in found["filters"]  # type: ignore[operator]
    assert previewed(sift("--config", "run.toml", "--limit", "3", "--vfx_enable", "true"))["rows"] == 3
    (tmp_path / "folder.toml").write_text(
        'videos = ["clips"]\nwhere = "tag = \'street\'"\ndry_run = true\nestimate = false\njson = true\n'
    )
    assert previewed(sift("--config", "folder.toml"))["rows"] == 1


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("limt = 3\ncolour = 1", "unknown key 'limt', did you mean limit?; unknown key 'colour' (keys: "),
        ("limit = 'many'", "'many' is not a valid integer"),
        ("limit =", "Invalid value"),
        ("[limit]\nrows = 3", "limit must be a value, not a table"),
    ],
)
def test_mistakes_of_a_file_of_options_are_named(text: str, said: str, sift: Sift, tmp_path: Path) -> None:
    (tmp_path / "run.toml").write_text(text)
    result = sift("clips", "--dry-run", "--no-estimate", "--config", "run.toml")
    assert result.exit_code == 2
    assert said in result.stderr


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "give VIDEOS (a folder"),
        (("clips", "--tables", "in.jsonl"), "not both"),
        (("clips", "--no-wait"), "--no-wait is for tables"),
        (("--tables", "in.jsonl"), "--outputs URL"),
        (("clips", "--where", "tag ="), "it ends too early"),
        (("clips", "--dry-run", "--where", "tga = 1"), "no column 'tga'"),
        (("clips", "--sample", "half"), "give a share"),
        (("oss://bucket/x/", "clips"), "give one oss://bucket/prefix/"),
        (("oss://bucket/x/",), "oss://bucket/x/ needs the store's endpoint and keys: set TAMIS_OSS_ENDPOINT"),
    ],
)
def test_mistakes_of_the_command_are_one_line(words: tuple[str, ...], said: str, sift: Sift) -> None:
    result = sift(*words)
    assert result.exit_code == 2
    (line,) = result.stderr.strip().splitlines()
    assert said in line
