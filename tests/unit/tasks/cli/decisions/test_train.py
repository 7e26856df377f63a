"""``tamis train`` as a user runs it: labelled folders, features once, a head, a manifest, a verdict."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from click.testing import CliRunner, Result

from inference.features.families import EncoderChoice
from inference.judge import open_judge
from storage.features.index import write_index
from tasks.cli.decisions.train import train
from tasks.extraction.order import ExtractionOrder, find_videos
from tasks.extraction.share import do_share
from tasks.settings import Settings
from tests.media import write_clip
from tests.small_manifest import SMALL

SOURCES = 6  # of each label
FRAMES, HEIGHT, WIDTH = 4, 48, 64


def picture(label: str, seed: int) -> Callable[[int], npt.NDArray[np.uint8]]:
    """Return a painter: one bright or dark picture with noise of its own."""
    level = 180 if label == "bright" else 30
    noise = np.random.default_rng(seed).integers(0, 50, (HEIGHT, WIDTH, 3))
    return lambda _number: (level + noise).astype(np.uint8)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make videos in two folders, a small manifest, and the features of the videos."""
    root = tmp_path_factory.mktemp("world")
    (root / "small.toml").write_text(SMALL)
    for place, label in enumerate(("bright", "normal")):
        (root / "videos" / label).mkdir(parents=True)
        for seed in range(SOURCES):
            write_clip(root / "videos" / label / f"{seed}.mp4", FRAMES, paint=picture(label, 100 * place + seed))
    order = ExtractionOrder(
        videos=tuple(find_videos(root / "videos")[0]),
        save_path=root / "features",
        encoder=EncoderChoice(model_type="manifest:base"),
        decoder_threads=1,
    )
    (root / "features").mkdir()
    chosen = Settings.of(manifest=str(root / "small.toml"), state_dir=root / "state")
    do_share(order, (0, 1), "cpu", chosen, lambda _progress: None)
    write_index(root / "features")
    return root


def run(world: Path, *options: str) -> Result:
    """Run the command on the features."""
    return CliRunner().invoke(train, ["--features", str(world / "features"), *options])


@pytest.fixture(scope="module")
def trained(world: Path) -> Result:
    """Train a head that may lose most good clips, as so few labels promise no more."""
    answer = run(world, "-o", str(world / "bright"), "--name", "bright", "--max-loss", "0.97")
    assert answer.exit_code == 0, answer.output
    return answer


def test_a_trained_head_is_a_filter_after_one_manifest_entry(world: Path, trained: Result) -> None:
    lines = trained.output.splitlines()
    assert lines[-1].startswith("train: auroc=1.000")
    entry = [line.removeprefix("  ") for line in lines if line.startswith("  ")]
    assert "[thresholds.bright_filter]" in entry
    (world / "own.toml").write_text(SMALL + "\n".join(entry))
    write_clip(world / "new.mp4", FRAMES, paint=picture("bright", 7))
    write_clip(world / "dark.mp4", FRAMES, paint=picture("normal", 8))
    with open_judge(str(world / "own.toml"), device="cpu") as judge:
        labels = [judge.judge(world / name).info["bright_filter"]["label"] for name in ("new.mp4", "dark.mp4")]
    assert labels == ["bright", "normal"]


@pytest.mark.usefixtures("trained")
def test_the_same_command_writes_the_same_weights_and_card(world: Path) -> None:
    again = run(world, "-o", str(world / "again"), "--name", "bright", "--max-loss", "0.97", "--json")
    assert json.loads(again.stdout) == json.loads((world / "bright/card.json").read_text())
    files = {name: (world / "again" / name).read_bytes() for name in ("model.safetensors", "card.md", "card.json")}
    assert files == {name: (world / "bright" / name).read_bytes() for name in files}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--good", "dim"], "no clip has the label 'dim' (labels: bright (6), normal (6))"),
        (["--tables", "absent.jsonl"], "absent.jsonl"),
    ],
)
def test_what_cannot_be_trained_ends_with_one_line(world: Path, options: list[str], message: str) -> None:
    answer = run(world, "-o", str(world / "none"), *options)
    assert answer.exit_code == 2
    assert message in answer.output
    assert not (world / "none").exists()
