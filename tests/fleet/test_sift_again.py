"""`tamis sift` over videos that were judged before, with other thresholds: no worker decodes one of them."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

from storage.features.cache import open_cache
from tasks.resources.judge import open_judge
from tasks.settings import Settings
from tests.media import write_clip
from tests.small_manifest import SMALL
from tests.valkey import ValkeyServer

COUNTS = (8, 9, 10)
LOOSE, STRICT = (f"\n[thresholds.vfx_filter]\nmax = {most}\n" for most in (1.0, 0.0))


def results(folder: Path) -> dict[str, tuple[dict[str, Any], dict[str, Any]]]:
    with closing(sqlite3.connect(f"{folder}-tamis/results.db")) as db:
        rows = db.execute("SELECT video_id, info, result_info FROM results")
        return {video: (json.loads(info), json.loads(about)) for video, info, about in rows}


def test_a_second_sift_with_another_threshold_decodes_nothing_and_says_so(
    tmp_path: Path, server: ValkeyServer, client: object
) -> None:
    (tmp_path / "loose.toml").write_text(SMALL + LOOSE)
    (tmp_path / "strict.toml").write_text(SMALL + STRICT)
    (tmp_path / "clips").mkdir()
    clips = [write_clip(tmp_path / "clips" / f"{count}.mp4", count) for count in COUNTS]
    settings = Settings.of(state_dir=tmp_path / "first", manifest=str(tmp_path / "loose.toml"), device="cpu")
    with closing(open_cache(server.url)) as cache, open_judge(settings, cache=cache, warms_up=False) as judge:
        first = {clip.name: judge.judge(clip) for clip in clips}

    clean = {name: value for name, value in os.environ.items() if not name.startswith("TAMIS_")}
    own = {"STATE_DIR": str(tmp_path / "state"), "MANIFEST": str(tmp_path / "strict.toml"), "DEVICE": "cpu"}
    second = subprocess.run(
        [sys.executable, "-P", "-m", "tasks", "sift", "clips", "--no-gallery"],
        cwd=tmp_path,
        env=clean | {f"TAMIS_{name}": value for name, value in {**own, "FEATURE_CACHE_URL": server.url}.items()},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert second.returncode == 0, second.stdout + second.stderr
    assert "3 of 3 videos judged from remembered features, nothing decoded" in second.stdout
    found = results(tmp_path / "clips")
    assert {video: info for video, (info, _) in found.items()} == {name: one.info for name, one in first.items()}
    assert all({"decode", "probe"}.isdisjoint(about["stages"]) for _, about in found.values())
    assert {about["decision"]["keep"] for _, about in found.values()} == {"drop"}
    assert {one.decision["keep"] for one in first.values() if one.decision} == {"keep"}
