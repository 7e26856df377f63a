"""``tamis features`` as a program: the same files whatever was interrupted, killed or shared."""

from __future__ import annotations

import hashlib
import os
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest
from click.testing import CliRunner

from inference.features.families import EncoderChoice
from inference.features.options import PlanOptions
from storage.features.cache import FeatureCache
from storage.features.index import read_index, write_index
from tasks.cli.videos.features import features
from tasks.extraction.order import ExtractionOrder, find_videos
from tasks.extraction.share import Outcome, ShareProgress, do_share
from tasks.settings import Settings
from tests.media import write_clip
from tests.small_manifest import SMALL
from tests.valkey import valkey_server

COUNTS = (5, 20, 33, 48, 60, 75)
COMMAND = [sys.executable, "-c", "import sys; from tasks.cli import main; sys.exit(main())", "features"]


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> Path:
    """A manifest and a data set: six videos, one of them no video, in two folders."""
    root = tmp_path_factory.mktemp("world")
    (root / "small.toml").write_text(SMALL)
    (root / "videos" / "sub").mkdir(parents=True)
    for place, count in enumerate(COUNTS):
        write_clip(root / "videos" / ("sub" if place % 2 else "") / f"{count}.mp4", count)
    (root / "videos" / "bad.mp4").write_bytes(b"no video")
    return root


def environ(world: Path) -> dict[str, str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("TAMIS_")}
    return clean | {"TAMIS_MANIFEST": str(world / "small.toml"), "TAMIS_STATE_DIR": str(world / "state")}


def extract(world: Path, save_path: Path, *options: str) -> subprocess.CompletedProcess[str]:
    arguments = ["--data_path", str(world / "videos"), "--save_path", str(save_path), "--stride", "2", *options]
    return subprocess.run(
        [*COMMAND, *arguments], cwd=world, env=environ(world), capture_output=True, text=True, timeout=200, check=False
    )


def digests(root: Path) -> dict[str, str]:
    return {
        str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in root.rglob("*")
        if path.is_file() and not path.name.startswith(".")
    }


def ends(reports: list[ShareProgress]) -> Counter[Outcome]:
    assert reports[-1].is_complete
    return Counter(outcome for report in reports for outcome in report.outcomes.values())


def order_to(world: Path, save_path: Path) -> ExtractionOrder:
    save_path.mkdir()
    return ExtractionOrder(
        videos=tuple(find_videos(world / "videos")[0]),
        save_path=save_path,
        encoder=EncoderChoice(model_type="manifest"),
        options=PlanOptions(stride_frames=2),
        decoder_threads=1,
    )


def settings_of(world: Path, **more: str) -> Settings:
    return Settings.of(manifest=str(world / "small.toml"), state_dir=world / "state", **more)


@pytest.fixture(scope="module")
def once(world: Path) -> Path:
    """The features that one share leaves, done in this process."""
    order = order_to(world, world / "once")
    settings = settings_of(world)
    reports: list[ShareProgress] = []
    do_share(order, (0, 1), "cpu", settings, reports.append)
    assert ends(reports) == {Outcome.EXTRACTED: 6, Outcome.FAILED: 1}
    reports.clear()
    do_share(order, (0, 1), "cpu", settings, reports.append)
    assert ends(reports) == {Outcome.SKIPPED: 6, Outcome.FAILED: 1}
    write_index(order.save_path)
    return order.save_path


def test_each_video_has_a_file_and_a_row_and_the_bad_one_a_reason(once):
    rows = {row["video"]: row for row in read_index(once)}
    assert len(rows) == len(COUNTS) + 1
    assert rows["bad.mp4"]["code"] == "not_a_video"
    assert all((once / row["file"]).exists() for row in rows.values() if row["code"] is None)
    assert rows["5.mp4"]["clips"] == 2


def test_four_killed_processes_and_two_with_another_batch_size_leave_the_same_bytes(world, once):
    save_path = world / "killed"
    arguments = ["--data_path", str(world / "videos"), "--save_path", str(save_path), "--stride", "2"]
    running = subprocess.Popen(
        [*COMMAND, *arguments, "--world_size", "4", "--decoder_threads", "1"],
        cwd=world,
        env=environ(world),
        stdout=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + 120
    while not list(save_path.rglob("*.safetensors")) and time.monotonic() < deadline:
        assert running.poll() is None
        time.sleep(0.01)
    os.kill(running.pid, signal.SIGKILL)
    running.wait()
    options = ("--world_size", "2", "--batch_size", "3", "--decoder_threads", "2", "--validate", "2")
    answer = extract(world, save_path, *options)
    assert answer.returncode == 0, answer.stderr
    assert digests(save_path) == digests(once)
    assert re.search(r"videos 7 = extracted \d \+ already there \d \+ failed 1", answer.stdout)
    assert "failed: bad.mp4: not_a_video" in answer.stdout
    assert "of the wall clock: forward" in answer.stdout
    assert "against float32: cosine at least 1.000000 (as required" in answer.stdout
    assert "clips share batches" in answer.stdout


def features_below(root: Path) -> dict[str, str]:
    return {name: digest for name, digest in digests(root).items() if name.endswith(".safetensors")}


def test_a_warm_cache_leaves_the_same_bytes_and_decodes_nothing(world, once, client, server, tmp_path):
    settings = settings_of(world, feature_cache_url=server.url)
    first: list[ShareProgress] = []
    second: list[ShareProgress] = []
    do_share(order_to(world, tmp_path / "first"), (0, 1), "cpu", settings, first.append)
    do_share(order_to(world, tmp_path / "second"), (0, 1), "cpu", settings, second.append)
    assert (first[-1].cache.hits, second[-1].cache.hits) == (0, len(COUNTS))
    assert first[-1].batches > 0
    assert second[-1].batches == 0
    assert features_below(tmp_path / "second") == features_below(tmp_path / "first") == features_below(once)


def test_a_cache_that_is_killed_during_a_run_changes_nothing_but_time(world, once, tmp_path, monkeypatch):
    reports: list[ShareProgress] = []
    with valkey_server() as dying:
        put = FeatureCache.put

        def put_and_kill(cache, *arguments):
            put(cache, *arguments)
            dying.kill()

        monkeypatch.setattr(FeatureCache, "put", put_and_kill)
        order, settings = order_to(world, tmp_path / "out"), settings_of(world, feature_cache_url=dying.url)
        do_share(order, (0, 1), "cpu", settings, reports.append)
    assert reports[-1].cache.errors >= len(COUNTS)
    assert features_below(tmp_path / "out") == features_below(once)


def test_a_wrong_encoder_ends_as_one_line_before_anything_is_loaded(world, tmp_path):
    answer = extract(world, tmp_path, "--model_type", "resnet", "--ckpt_path", "seed:1")
    assert answer.returncode == 2
    (line,) = answer.stderr.strip().splitlines()
    assert "videomae" in line


def test_what_an_encoder_refuses_when_it_is_opened_ends_as_one_line(world, tmp_path):
    answer = extract(world, tmp_path, "--pool", "cls")
    assert answer.returncode == 2
    assert "Traceback" not in answer.stderr
    assert "no class token" in answer.stderr.strip().splitlines()[-1]


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ([], "--data_path FOLDER"),
        (["--tables", "sqlite:///in.db#v"], "--outputs URL"),
        (
            ["--tables", "sqlite:///in.db#v", "--outputs", "sqlite:///out.db#r", "--data_path", "."],
            "--data_path FOLDER",
        ),
        (["--tables", "sqlite:///in.db#v", "--outputs", "sqlite:///out.db#r", "--precision", "tf32"], "whole process"),
    ],
)
def test_options_that_do_not_fit_each_other_are_named(options, named, tmp_path):
    answer = CliRunner().invoke(features, ["--save_path", str(tmp_path), *options])
    assert answer.exit_code == 2
    assert named in answer.output
