"""Opened models of a whole manifest: scores, shared backbones, options, owners' checkpoints."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from inference.errors import BadVideo, ManifestError
from inference.manifest import Manifest, load_manifest, parse_manifest
from inference.models.batcher import Batching
from inference.models.build import open_models
from inference.models.checkpoint import fill_from_seed, save_checkpoint
from inference.models.networks.backbone import build_backbone
from inference.models.networks.heads import build_head
from inference.models.networks.rope import CachedRopeAttention
from inference.models.networks.transforms import Normalise, gather_clip
from inference.models.networks.video_model import ClipScorer, VideoModel
from inference.models.scoring import Models
from inference.types import DecodedVideo, Fit, Scope, Scores

TINY = (Path(load_manifest("tiny").directory) / "tiny.toml").read_text(encoding="utf-8")
SMALL = """
name = "small"

[backbones.base]
weights = "seed:1"
config = { hidden_size = 48, num_hidden_layers = 1, num_attention_heads = 2 }
[backbones.base.preprocessing]
num_frames = 4
size = 32
fit = "squash"
mean = [0.5, 0.5, 0.5]
std = [0.5, 0.5, 0.5]

[backbones.copy]
weights = "seed:1"
config = { hidden_size = 48, num_hidden_layers = 1, num_attention_heads = 2 }
[backbones.copy.preprocessing]
num_frames = 4
size = 32
fit = "squash"
mean = [0.5, 0.5, 0.5]
std = [0.5, 0.5, 0.5]

[heads.vfx]
backbone = "base"
labels = ["VFX_video", "normal_video"]
weights = "seed:2"

[heads.simcam]
backbone = "copy"
labels = ["simcam_video", "normal_video"]
weights = "seed:3"

[[filters]]
name = "vfx"
switch = "vfx_enable"
head = "vfx"
outputs = [{ key = "vfx_filter", scope = "whole" }]

[[filters]]
name = "simcam"
switch = "com_enable"
head = "simcam"
outputs = [
  { key = "simcam_filter", scope = "whole" },
  { key = "seg_simcam_filter", scope = "windows" },
  { key = "inverse_seg_simcam_filter", scope = "windows", is_reversed = true },
]
"""
BOTH = frozenset({"vfx_enable", "com_enable"})


def small(*changes: tuple[str, str], directory: Path = Path("/nowhere")) -> Manifest:
    text = SMALL
    for old, new in changes:
        assert old in text
        text = text.replace(old, new, 1)
    return parse_manifest(text, directory=directory, source="small.toml")


@pytest.fixture
def opened():
    """``opened(manifest)``: its models on the CPU, closed after the test."""
    models: list[Models] = []

    def open_one(manifest: Manifest, **options) -> Models:
        models.append(open_models(manifest, device="cpu", **options))
        return models[-1]

    yield open_one
    for one in models:
        one.close()


def difference(left: dict[str, tuple[Scores, ...]], right: dict[str, tuple[Scores, ...]]) -> float:
    assert {key: len(value) for key, value in left.items()} == {key: len(value) for key, value in right.items()}
    return max(
        abs(one.probabilities[label] - two.probabilities[label])
        for key in left
        for one, two in zip(left[key], right[key], strict=True)
        for label in one.probabilities
    )


# ── what is answered ─────────────────────────────────────────────────────────────────────────────────────────────────


def test_every_output_is_scored_per_clip_with_its_own_labels(tiny, tiny_models, decode, every_switch):
    scores = tiny_models.score(decode(tiny, every_switch, windows=3), every_switch)
    assert {key: len(value) for key, value in scores.items()} == {
        "vfx_filter": 1,
        "simcam_filter": 1,
        "seg_simcam_filter": 3,
        "inverse_seg_simcam_filter": 3,
        "rotate_vertical_filter": 1,
        "seg_low_quality_filter": 3,
    }
    for output in tiny.outputs(every_switch):
        for one in scores[output.key]:
            assert tuple(one.probabilities) == output.labels
            assert sum(one.probabilities.values()) == pytest.approx(1, abs=1e-6)
    assert [one.start_seconds for one in scores["seg_low_quality_filter"]] == [0.0, 3.0, 6.0]


def test_a_clip_of_several_heads_runs_through_the_backbone_once(tiny, tiny_models, decode, every_switch):
    def clips() -> list[int]:
        return [engine.batcher.counters().clips for engine in tiny_models.engines]

    before = clips()
    tiny_models.score(decode(tiny, every_switch, windows=2), every_switch)
    assert [after - old for after, old in zip(clips(), before, strict=True)] == [1 + 2 + 2, 1]


def test_a_reversed_window_is_the_window_of_the_flipped_video(tiny, tiny_models, decode):
    enabled = frozenset({"com_enable"})
    decoded = decode(tiny, enabled)
    flipped = replace(
        decoded,
        clips=tuple(replace(clip, indices=clip.indices[::-1]) for clip in decoded.clips),
    )
    forward, backward = tiny_models.score(decoded, enabled), tiny_models.score(flipped, enabled)
    swapped = {"seg_simcam_filter": backward["inverse_seg_simcam_filter"]}
    assert difference({"seg_simcam_filter": forward["seg_simcam_filter"]}, swapped) <= 1e-5
    assert difference({"seg_simcam_filter": forward["inverse_seg_simcam_filter"]}, swapped) > 1e-3


def test_videos_judged_at_once_score_as_they_do_one_at_a_time(tiny, tiny_models, decode, every_switch):
    videos = [decode(tiny, every_switch, seed=seed) for seed in range(4)]
    alone = [(tiny_models.score(video, every_switch), tiny_models.detect(video)) for video in videos]
    with ThreadPoolExecutor(4) as threads:
        together = list(
            threads.map(lambda video: (tiny_models.score(video, every_switch), tiny_models.detect(video)), videos)
        )
    for (scores, boxes), (wanted, wanted_boxes) in zip(together, alone, strict=True):
        assert difference(scores, wanted) <= 1e-5
        assert boxes == wanted_boxes


def test_on_a_cpu_each_thread_runs_batches_of_its_own_and_has_a_detector_with_the_same_weights(tiny_models):
    before = torch.get_num_threads()  # tiny_models were opened with two threads
    detectors = tiny_models.detectors.instances(tiny_models.manifest.detector.name)
    assert before == 1
    assert "cpu, 2 threads" in tiny_models.device_info
    assert {engine.batcher.runners for engine in tiny_models.engines} == {2}
    first, second = ([one.data_ptr() for one in detector.network.parameters()] for detector in detectors)
    assert first == second


def test_clips_of_several_videos_share_batches(opened, decode):
    manifest = small()
    models = opened(manifest, batching=Batching(buckets=(1, 20), max_wait_seconds=30))
    videos = [decode(manifest, BOTH, seed=seed) for seed in range(4)]
    with ThreadPoolExecutor(4) as threads:
        list(threads.map(lambda video: models.score(video, BOTH), videos))
    (counters,) = [engine.batcher.counters() for engine in models.engines]
    assert (counters.clips, counters.batches) == (4 * (1 + 2 + 2), 1)


def test_warming_up_runs_everything_and_changes_nothing(tiny, tiny_models, decode, every_switch):
    decoded = decode(tiny, every_switch)
    before = tiny_models.score(decoded, every_switch)
    tiny_models.warm_up()
    assert difference(tiny_models.score(decoded, every_switch), before) <= 1e-5


def test_a_video_decoded_for_other_filters_raises_a_value_error(tiny, tiny_models, decode):
    decoded = decode(tiny, frozenset({"vfx_enable"}))
    with pytest.raises(ValueError, match="decoded without clips for seg_simcam_filter"):
        tiny_models.score(decoded, frozenset({"com_enable"}))


def test_a_clip_of_too_few_frames_raises_a_value_error(tiny, tiny_models, decode):
    enabled = frozenset({"vfx_enable"})
    decoded = decode(tiny, enabled)
    short = replace(decoded, clips=(replace(decoded.clips[0], indices=np.arange(3)),))
    with pytest.raises(ValueError, match="a clip of 16 frames was decoded to 3"):
        tiny_models.score(short, enabled)


def test_scores_that_are_not_finite_do_not_affect_another_video(opened, decode):
    # Any pixel above black overflows, so of two videos only the bright one is answered with NaN.
    manifest = small()
    models = opened(manifest)
    with torch.no_grad():
        models.engines[0].model.normalise.scale.fill_(1e38)
        models.engines[0].model.normalise.shift.fill_(0)
    bright = decode(manifest, BOTH)
    pictures = {
        spec: replace(picture, frames=np.zeros_like(picture.frames)) for spec, picture in bright.pictures.items()
    }
    dark = replace(bright, pictures=pictures)
    with ThreadPoolExecutor(2) as threads:
        broken, fine = threads.submit(models.score, bright, BOTH), threads.submit(models.score, dark, BOTH)
        assert set(fine.result()) == {
            "vfx_filter",
            "simcam_filter",
            "seg_simcam_filter",
            "inverse_seg_simcam_filter",
        }
        with pytest.raises(BadVideo, match="not finite"):
            broken.result()


# ── what is shared ───────────────────────────────────────────────────────────────────────────────────────────────────


def test_equal_backbones_are_one_instance_and_logged(opened, caplog):
    with caplog.at_level(logging.INFO):
        models = opened(small())
    assert [engine.heads for engine in models.engines] == [("vfx", "simcam")]
    assert "one backbone pass per clip for vfx, simcam: base = copy" in caplog.text


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('weights = "seed:1"', 'weights = "seed:4"'),
        ("mean = [0.5, 0.5, 0.5]", "mean = [0.4, 0.5, 0.5]"),
        ('weights = "seed:1"', 'weights = "seed:1"\ndtype = "bfloat16"'),
    ],
)
def test_backbones_that_differ_in_anything_stay_apart(opened, caplog, old, new):
    with caplog.at_level(logging.INFO):
        models = opened(small((old, new)))
    assert [engine.heads for engine in models.engines] == [("vfx",), ("simcam",)]
    assert "one backbone pass per clip for vfx: base (" in caplog.text


def test_shared_passes_score_as_separate_passes_do(opened, decode):
    shared, apart = opened(small()), opened(small(('weights = "seed:1"', 'weights = "seed:1"\ndtype = "float32"')))
    assert (len(shared.engines), len(apart.engines)) == (1, 2)
    decoded = decode(shared.manifest, BOTH)
    assert difference(shared.score(decoded, BOTH), apart.score(decoded, BOTH)) <= 1e-4


def test_shared_maps_each_instance_to_its_filters(opened, tiny_models):
    assert opened(small()).shared == {"base = copy": ("vfx", "simcam")}
    assert tiny_models.shared == {"vjepa2-base": ("vfx", "simcam", "low_quality"), "vjepa2-rov-base": ("rov",)}


# ── how it is run ────────────────────────────────────────────────────────────────────────────────────────────────────


def computing(line: str) -> Manifest:
    return small(('name = "small"', f'name = "small"\n[compute]\n{line}'))


def test_every_vjepa2_backbone_reads_cached_position_tables(tiny_models):
    for engine in tiny_models.engines:
        assert any(isinstance(one, CachedRopeAttention) for one in engine.model.modules())


def test_memory_is_given_back_after_the_manifests_number_of_videos(opened, decode):
    given_back: list[int] = []
    opened_models = opened(computing("empty_cache_videos = 2"))
    models = replace(opened_models, give_back_memory=lambda: given_back.append(1))
    decoded = decode(models.manifest, VFX)
    counts = []
    for _ in range(5):
        models.score(decoded, VFX)
        counts.append(len(given_back))
    assert counts == [0, 1, 1, 2, 2]


def test_memory_is_kept_by_default(opened, decode):
    models = replace(opened(small()), give_back_memory=lambda: pytest.fail("given back"))
    models.score(decode(models.manifest, VFX), VFX)


def test_cuda_graphs_without_a_gpu_are_ignored_with_a_warning(opened, decode, caplog):
    models = opened(computing("uses_cuda_graphs = true"))
    assert "uses_cuda_graphs = true does nothing on this device: cpu" in caplog.text
    assert models.score(decode(models.manifest, VFX), VFX)


def test_float32_is_multiplied_as_the_manifest_says_until_the_models_are_closed():
    before = torch.backends.cuda.matmul.allow_tf32
    manifest = small(('weights = "seed:1"', 'weights = "seed:1"\ndtype = "tf32"'))
    models = open_models(manifest, device="cpu")
    assert torch.backends.cuda.matmul.allow_tf32
    models.close()
    assert torch.backends.cuda.matmul.allow_tf32 is before


def test_the_log_has_the_seconds_of_the_cold_start(opened, caplog):
    with caplog.at_level(logging.INFO):
        opened(small()).warm_up()
    assert "base: the first batch of 4 took" in caplog.text
    assert "the models are warm after" in caplog.text


# ── who judged ───────────────────────────────────────────────────────────────────────────────────────────────────────

SCORE_ELSEWHERE = """
import json
from inference.manifest import load_manifest
from inference.models.build import open_models
models = open_models(load_manifest("tiny"), device="cpu")
print(json.dumps(dict(models.digests)))
models.close()
"""


def nowhere(home: Path) -> dict[str, str]:
    """An environment in which every way to the network leads to a closed port."""
    proxies = dict.fromkeys(
        ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY"), "http://127.0.0.1:9"
    )
    return {**os.environ, **proxies, "HF_HUB_OFFLINE": "1", "HOME": str(home)}


def test_another_process_without_a_network_opens_the_same_weights(tiny_models, tmp_path):
    guard = (
        "import sys\n"
        "def refuse(event, _):\n"
        "    assert not event.startswith(('socket.connect', 'socket.getaddrinfo')), event\n"
        "sys.addaudithook(refuse)\n"
    )
    program = [sys.executable, "-c", guard + SCORE_ELSEWHERE]
    other = subprocess.run(program, capture_output=True, text=True, check=False, env=nowhere(tmp_path))
    assert other.returncode == 0, other.stderr
    assert json.loads(other.stdout) == dict(tiny_models.digests)


def test_seeded_weights_are_declared_untrained(tiny_models):
    assert tiny_models.is_untrained
    assert tiny_models.untrained == {"vfx", "simcam", "rov", "low_quality", "abnormal_region"}


def test_every_filter_has_its_own_digest(tiny_models):
    assert len(set(tiny_models.digests.values())) == len(tiny_models.digests) == 5


# ── owners' checkpoints ──────────────────────────────────────────────────────────────────────────────────────────────

CONFIG = {
    "task": "single_label_classification",
    "backbone": {
        "name": "TransformersBackbone",
        "framework": {"name": "transformers", "version": "4.53.0"},
        "type": "3d_backbone",
        "model_name": "vjepa2-base",
        "num_features": 48,
        "mean": [0.45, 0.45, 0.45],
        "std": [0.225, 0.225, 0.225],
    },
    "neck": None,
    "head": {"name": "LinearHead", "hidden_size": 48, "num_classes": 2, "dropout_p": 0.1},
    "labels": ["VFX_video", "normal_video"],
    "preprocessor": {
        "num_timesteps": 4,
        "input_size": 32,
        "means": [0.45, 0.45, 0.45],
        "stds": [0.225, 0.225, 0.225],
        "min_short_side": 36,
        "max_short_side": 48,
        "horizontal_flip_p": 0.5,
        "clip_duration": 4,
    },
}
OWNERS = """
name = "owners"

[backbones.vfx-backbone]
weights = "vfx"
config = { hidden_size = 48, num_hidden_layers = 1, num_attention_heads = 2 }

[heads.vfx]
backbone = "vfx-backbone"
labels = ["VFX_video", "normal_video"]
weights = "vfx"

[[filters]]
name = "vfx"
switch = "vfx_enable"
head = "vfx"
outputs = [{ key = "vfx_filter", scope = "whole" }]
"""
VFX = frozenset({"vfx_enable"})


def owners_parts():
    """Backbone and head of an owner: weights that no seed of the manifest gives."""
    manifest = small()
    backbone = build_backbone("base", manifest.spec.backbones["base"], manifest.preprocessing["base"])
    head = build_head("vfx", manifest.spec.heads["vfx"], 48)
    fill_from_seed(backbone, 1001)
    fill_from_seed(head, 1002)
    return backbone, head


def owners_tensors() -> dict[str, torch.Tensor]:
    backbone, head = owners_parts()
    return {
        **{f"backbone.model.{key}": tensor for key, tensor in backbone.model.state_dict().items()},
        **{f"head.{key}": tensor for key, tensor in head.state_dict().items()},
        "backbone.model.predictor.embeddings.mask_tokens": torch.zeros(1),  # what training needed, judging does not
    }


def owners(directory: Path, text: str = OWNERS) -> Manifest:
    return parse_manifest(text, directory=directory, source="owners.toml")


def scores_of_parts(decoded: DecodedVideo) -> np.ndarray:
    backbone, head = owners_parts()
    model = VideoModel(Normalise((0.45,) * 3, (0.225,) * 3), backbone, {"vfx": head}).eval()
    (clip,) = decoded.clips
    frames = decoded.pictures[clip.request.picture].frames
    (answer,) = ClipScorer(model, torch.device("cpu"))([gather_clip(frames, clip.indices)], [["vfx"]], 1)
    return answer["vfx"]


def check_owners(models: Models, decode) -> None:
    decoded = decode(models.manifest, VFX)
    (found,) = models.score(decoded, VFX)["vfx_filter"]
    np.testing.assert_allclose(list(found.probabilities.values()), scores_of_parts(decoded), atol=1e-6)
    assert not models.is_untrained


def test_an_owners_directory_scores_as_its_parts_do(opened, decode, tmp_path):
    save_checkpoint(tmp_path / "vfx", owners_tensors(), CONFIG)
    manifest = owners(tmp_path)
    (request,) = manifest.decode_plan(VFX).requests
    assert (request.scope, request.num_frames) == (Scope.WHOLE, 4)
    assert (request.picture.fit, request.picture.shortest_edge) == (Fit.CENTRE_CROP, 36)
    check_owners(opened(manifest), decode)


def test_an_owners_pickle_is_loaded_when_it_is_pinned(opened, decode, tmp_path):
    (tmp_path / "vfx").mkdir()
    file = tmp_path / "vfx" / "pytorch_model.bin"
    torch.save(owners_tensors(), file)
    (tmp_path / "vfx" / "config.json").write_text(json.dumps(CONFIG), encoding="utf-8")
    pin = hashlib.sha256(file.read_bytes()).hexdigest()
    pinned = OWNERS.replace('weights = "vfx"', f'weights = "vfx"\nsha256 = "{pin}"')
    check_owners(opened(owners(tmp_path, pinned)), decode)
    with pytest.raises(ManifestError, match="must be pinned"):
        open_models(owners(tmp_path), device="cpu")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"head.linear.bias": None}, "heads.vfx: .*vfx lacks linear.bias"),
        ({"head.linear.extra": torch.zeros(1)}, "heads.vfx: .*vfx holds unexpected linear.extra"),
        ({"backbone.model.decoder.w": torch.zeros(1)}, "backbones.vfx-backbone: .*vfx holds unexpected decoder.w"),
        ({"neck.w": torch.zeros(1)}, "holds neck.w, of neither backbone nor head"),
        ({"head.linear.weight": torch.zeros(5, 48)}, r"linear.weight \[5, 48\] for \[2, 48\]"),
    ],
)
def test_an_owners_checkpoint_that_does_not_fit_is_refused_by_key(tmp_path, change, message):
    changed = {**owners_tensors(), **change}
    kept = {key: tensor for key, tensor in changed.items() if tensor is not None}
    save_checkpoint(tmp_path / "vfx", kept, CONFIG)
    with pytest.raises(ManifestError, match=message):
        open_models(owners(tmp_path), device="cpu")


def test_labels_in_another_order_than_the_checkpoints_are_refused(tmp_path):
    save_checkpoint(tmp_path / "vfx", owners_tensors(), {**CONFIG, "labels": ["normal_video", "VFX_video"]})
    with pytest.raises(ManifestError, match=r"the checkpoint's classes are \['normal_video', 'VFX_video'\]"):
        open_models(owners(tmp_path), device="cpu")


def test_two_owners_checkpoints_with_one_backbone_share_it(opened, tmp_path):
    save_checkpoint(tmp_path / "vfx", owners_tensors(), CONFIG)
    twin = OWNERS.replace("vfx-backbone", "twin-backbone").replace("vfx_", "rov_").replace("heads.vfx", "heads.rov")
    twin = (
        twin.replace('name = "vfx"', 'name = "rov"')
        .replace('head = "vfx"', 'head = "rov"')
        .replace('name = "owners"', "")
    )
    models = opened(owners(tmp_path, OWNERS + twin))
    assert [engine.heads for engine in models.engines] == [("vfx", "rov")]
