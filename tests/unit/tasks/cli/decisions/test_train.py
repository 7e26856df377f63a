"""``tamis train`` as a user runs it: labelled folders, features once, a head, a manifest, a verdict."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch
from click.testing import CliRunner, Result
from safetensors.torch import load_file

from inference.errors import ManifestError
from inference.features.families import EncoderChoice
from inference.features.options import PlanOptions
from inference.features.plan import Pooling
from inference.judge import open_judge
from inference.manifest import load_manifest
from inference.models.build import load_backbone
from inference.models.networks.heads import AttentiveHead, LinearHead
from inference.types import Scope
from storage.features.files import read_features
from storage.features.index import read_index, write_index
from tasks.cli.decisions import train as command
from tasks.cli.decisions.train import train
from tasks.extraction.order import ExtractionOrder, find_videos
from tasks.extraction.share import do_share
from tasks.settings import Settings
from tests.media import write_clip
from tests.small_manifest import SMALL

SOURCES = 6  # of each label
FRAMES, HEIGHT, WIDTH = 24, 48, 64
MANIFEST = f"""{SMALL}
[backbones.classy]
family = "vivit"
weights = "seed:3"
[backbones.classy.config]
hidden_size = 32
num_hidden_layers = 1
num_attention_heads = 2
intermediate_size = 32
image_size = 32
num_frames = 4
[backbones.classy.preprocessing]
num_frames = 4
size = 32
fit = "squash"
mean = [0.5, 0.5, 0.5]
std = [0.5, 0.5, 0.5]
"""  # its tokens start with a class token
WINDOWS = PlanOptions(scope=Scope.WINDOWS, window_seconds=0.5, overlap_seconds=0.125)
FOLDERS = {  # of features
    "whole": ("base", PlanOptions(scope=Scope.WHOLE)),
    "windows": ("base", WINDOWS),
    "classy": ("classy", PlanOptions(scope=Scope.WHOLE)),
    "tokens": ("base", PlanOptions(scope=Scope.WHOLE, pooling=Pooling.TOKENS)),
    "clips": ("base", PlanOptions()),
}


def picture(label: str, seed: int) -> Callable[[int], npt.NDArray[np.uint8]]:
    """Return a painter: bright or dark pictures with noise of their own, which brighten and darken in turn."""
    level = 180 if label == "bright" else 30
    noise = np.random.default_rng(seed).integers(0, 50, (HEIGHT, WIDTH, 3))
    return lambda number: (level + noise + 25 * np.sin(number / 4 + seed)).clip(0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make videos in two folders, a small manifest, and folders of the videos' features."""
    root = tmp_path_factory.mktemp("world")
    (root / "small.toml").write_text(MANIFEST)
    for place, label in enumerate(("bright", "normal")):
        (root / "videos" / label).mkdir(parents=True)
        for seed in range(SOURCES):
            write_clip(root / "videos" / label / f"{seed}.mp4", FRAMES, paint=picture(label, 100 * place + seed))
    for folder, (backbone, options) in FOLDERS.items():
        extract(root, folder, EncoderChoice(model_type=f"manifest:{backbone}"), options)
    return root


def extract(root: Path, folder: str, encoder: EncoderChoice, options: PlanOptions) -> None:
    """Write the features of the world's videos into a folder of it."""
    order = ExtractionOrder(
        videos=tuple(find_videos(root / "videos")[0]),
        save_path=root / folder,
        encoder=encoder,
        options=options,
        decoder_threads=2,
    )
    (root / folder).mkdir()
    chosen = Settings.of(manifest=str(root / "small.toml"), state_dir=root / "state")
    do_share(order, (0, 1), "cpu", chosen, lambda _progress: None)
    write_index(root / folder)


def run(world: Path, *options: str, folder: str = "whole") -> Result:
    """Run the command on a folder of features."""
    return CliRunner().invoke(train, ["--features", str(world / folder), *options])


@pytest.fixture(scope="module")
def trained(world: Path) -> Result:
    """Train a head that may lose most good clips, as so few labels promise no more."""
    answer = run(world, "-o", str(world / "bright"), "--name", "bright", "--max-loss", "0.97")
    assert answer.exit_code == 0, answer.output
    return answer


def test_a_trained_head_is_a_filter_after_one_manifest_entry(world: Path, trained: Result) -> None:
    lines = trained.output.splitlines()
    assert lines[-1].startswith("train: auroc=1.000")
    assert "[thresholds.bright_filter]" in entry_of(trained)
    (world / "own.toml").write_text(MANIFEST + entry_of(trained))
    write_clip(world / "new.mp4", FRAMES, paint=picture("bright", 7))
    write_clip(world / "dark.mp4", FRAMES, paint=picture("normal", 8))
    with open_judge(str(world / "own.toml"), device="cpu") as judge:
        labels = [judge.judge(world / name).info["bright_filter"]["label"] for name in ("new.mp4", "dark.mp4")]
    assert labels == ["bright", "normal"]


@pytest.fixture(scope="module")
def doubtful(world: Path) -> Path:
    """Write a table of the videos' labels, of which every third is wrong: a head of these is sure of no score."""
    other = {"bright": "normal", "normal": "bright"}
    rows = [
        {
            "video_id": f"{label}{seed}",
            "oss_bucket": label,
            "video_path": f"{seed}.mp4",
            "video_tag": "",
            "info": "",
            "decision": label if seed % 3 else other[label],
            "film": f"{label}{seed}",
        }
        for label in other
        for seed in range(SOURCES)
    ]
    path = world / "labels.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def entry_of(answer: Result) -> str:
    """Return the manifest entry that the command printed."""
    return "\n".join(line.removeprefix("  ") for line in answer.output.splitlines() if line.startswith("  "))


def head_scores(checkpoint: Path, features: npt.NDArray[np.generic]) -> list[float]:
    """Return each clip's probability of the head's first label."""
    tensors, width = load_file(checkpoint / "model.safetensors"), features.shape[-1]
    is_linear = len(tensors) == 2
    head = LinearHead(width, 2) if is_linear else AttentiveHead(width, 2, depth=1, num_attention_heads=1)
    head.load_state_dict({name.removeprefix("head."): tensor for name, tensor in tensors.items()})
    tokens = torch.from_numpy(features)
    with torch.inference_mode():
        logits = head.eval()(tokens[:, None] if is_linear else tokens)
    return logits.softmax(dim=1)[:, 0].tolist()


@pytest.mark.parametrize("folder", ["whole", "windows", "classy", "tokens"])
def test_the_printed_entry_gives_a_video_the_scores_that_the_trained_head_gives_its_features(
    world: Path, doubtful: Path, folder: str
) -> None:
    checkpoint = world / f"{folder}_head"
    labels = ("--tables", str(doubtful), "--group", "film", "--seed", "2")
    kind = "attentive" if folder == "tokens" else "linear"
    answer = run(world, "-o", str(checkpoint), "--name", "bright", "--head", kind, *labels, folder=folder)
    assert answer.exit_code == 0, answer.output
    manifest = world / f"{folder}.toml"
    manifest.write_text(MANIFEST + entry_of(answer))
    with open_judge(str(manifest), device="cpu") as judge:
        for row in read_index(world / folder)[::3]:
            found = judge.judge(world / "videos" / row["video"], ["bright_enable"]).info["bright_filter"]
            clips = [window["bright_filter"] for window in found.values()] if folder == "windows" else [found]
            scores = [one["result"]["bright"] for one in clips]
            assert len(scores) == row["clips"] == (3 if folder == "windows" else 1)
            expected = head_scores(checkpoint, read_features(world / folder / row["file"])[1])
            assert 1e-5 < min(scores) <= max(scores) < 1 - 1e-5  # where they would differ for other frames
            assert scores == pytest.approx(expected, abs=2e-6)


def test_unfrozen_blocks_are_a_backbone_of_the_printed_entry(world: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    chosen = Settings.of(manifest=str(world / "small.toml"), state_dir=world / "state", device="cpu")
    monkeypatch.setattr(command, "settings", lambda: chosen)
    tuning = ("--unfreeze", "1", "--videos", str(world / "videos"), "--seed", "2")
    answer = run(world, "-o", str(world / "tuned"), "--name", "bright", *tuning)
    assert answer.exit_code == 0, answer.output
    assert "trained too: the last 1 blocks: loss on clips apart" in answer.output
    manifest = load_manifest(world / "small.toml")
    frozen = load_backbone(manifest, "base", manifest.spec.backbones["base"]).model.model.state_dict()
    tuned = load_file(world / "tuned/backbone/model.safetensors")
    assert {name.split(".layer.")[1][0] for name in tuned if not torch.equal(tuned[name], frozen[name])} == {"1"}
    (world / "tuned.toml").write_text(MANIFEST + entry_of(answer))
    with open_judge(str(world / "tuned.toml"), device="cpu") as judge:  # it refuses another backbone's weights
        found = judge.judge(world / "videos/bright/3.mp4", ["bright_enable"]).info["bright_filter"]
    assert found["label"] == "bright"


def test_features_of_clips_that_no_filter_sees_are_refused_with_the_remedy(world: Path) -> None:
    answer = run(world, "-o", str(world / "none"), folder="clips")
    assert answer.exit_code == 2
    assert "sliding clips (stride 4, step 1), which no manifest's filter sees" in answer.output
    assert "extract again: tamis features --model_type manifest:BACKBONE --scope whole" in answer.output


def test_a_head_over_another_backbone_than_that_of_its_training_is_refused(world: Path, trained: Result) -> None:
    (world / "other.toml").write_text(MANIFEST.replace('weights = "seed:1"', 'weights = "seed:9"') + entry_of(trained))
    with pytest.raises(ManifestError, match=r"heads\.bright was trained over backbone_digest = .*train it again"):
        open_judge(str(world / "other.toml"), device="cpu")


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
