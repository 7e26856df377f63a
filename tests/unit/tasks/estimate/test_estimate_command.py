"""``tamis estimate`` over a table of real files, with a small model."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from tasks.cli.estimate import estimate
from tasks.resources import stores
from tasks.settings import Settings
from tests.media import write_clip
from tests.small_manifest import SMALL

VFX_ALONE = [
    part for name in ("com", "rov", "low_quality", "abnormal_region") for part in (f"--{name}_enable", "false")
]


@pytest.fixture
def tables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    folder = tmp_path / "objects" / "bucket"
    folder.mkdir(parents=True)
    for number in range(5):
        write_clip(folder / f"{number}.mp4", 10 * (number + 1))
    (folder / "5.mp4").write_text("no video")
    rows = [
        {"video_id": str(n), "oss_bucket": "bucket", "video_path": f"{n}.mp4", "video_tag": "", "info": ""}
        for n in range(7)
    ]
    path = tmp_path / "in.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "small.toml").write_text(SMALL)
    chosen = Settings.of(
        state_dir=tmp_path / "state",
        object_root=tmp_path / "objects",
        manifest=str(tmp_path / "small.toml"),
        decoder_children=1,
    )
    monkeypatch.setattr("tasks.cli.estimate.settings", lambda: chosen)
    return str(path)


def test_a_table_is_estimated_and_what_cannot_be_read_is_counted(tables: str) -> None:
    result = CliRunner().invoke(
        estimate, ["--tables", tables, "--judge", "3", "--price-device-hour", "2", "--json", *VFX_ALONE]
    )
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert (found["rows"], found["judged_rows"]) == (7, 5)
    assert found["sample"]["failures"] == {"not_a_video": 1, "object_missing": 1}
    for key in ("bytes", "device_hours", "decode_core_hours", "finish_seconds", "price", "price_per_1000"):
        assert 0 < found[key]["low"] < found[key]["middle"] < found[key]["high"], key
    assert found["price_per_1000_kept"] is None, "the manifest has no thresholds"


def test_the_text_names_each_figure_and_the_codes(tables: str) -> None:
    result = CliRunner().invoke(
        estimate, ["--tables", tables, "--judge", "3", "--price-core-hour", "1", "--keep-rate", "0.5", *VFX_ALONE]
    )
    assert result.exit_code == 0, result.output
    for text in ("7 rows", "end as object_missing", "decoder core-hours", "finish with 1 worker", "1,000 kept"):
        assert text in result.output


def test_without_a_store_the_remedy_is_named(tables: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tasks.cli.estimate.open_origin", lambda _: None)
    result = CliRunner().invoke(estimate, ["--tables", tables])
    assert result.exit_code == 2
    assert stores.NO_TIER in result.output
