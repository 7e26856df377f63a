"""Backbones, heads and their composition."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from inference.errors import DeviceLost, ManifestError, Transient
from inference.manifest import load_manifest
from inference.manifest.preprocessing import Preprocessing
from inference.manifest.schema import BackboneSpec, HeadSpec
from inference.models.checkpoint import fill_from_seed
from inference.models.device import choose_device, choose_dtype, device_fault, device_faults, device_info, device_name
from inference.models.networks.backbone import build_backbone
from inference.models.networks.heads import AttentiveHead, LinearHead, build_head
from inference.models.networks.transforms import Normalise
from inference.models.networks.video_model import ClipScorer, VideoModel
from inference.types import PictureSpec

SMALL = Preprocessing(4, PictureSpec(32, 32), (0.5,) * 3, (0.5,) * 3)
VJEPA = {"hidden_size": 48, "num_hidden_layers": 1, "num_attention_heads": 2}
VIDEOMAE = {**VJEPA, "image_size": 32, "num_frames": 4, "intermediate_size": 96}


def backbone(family: str = "vjepa2", config: dict[str, object] | None = None):
    spec = BackboneSpec(family=family, config=config or VJEPA, weights="seed:1")
    built = build_backbone("base", spec, SMALL)
    fill_from_seed(built, 1)
    return built


def head(labels: int = 3, **options) -> nn.Module:
    names = tuple(f"label {number}" for number in range(labels))
    built = build_head("vfx", HeadSpec(backbone="base", labels=names, weights="seed:2", **options), 48)
    fill_from_seed(built, 2)
    return built


# ── backbones ────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_vjepa2_gives_tokens_and_has_no_predictor():
    built = backbone()
    assert built(torch.zeros(2, 4, 3, 32, 32)).shape == (2, 2 * 2 * 2, 48)
    assert not any("predictor" in name for name, _ in built.named_parameters())


def test_the_position_encoding_follows_the_size_of_the_input():
    assert backbone().model.config.crop_size == 32
    with pytest.raises(ManifestError, match="crop_size = 256 but the preprocessing gives 32; remove crop_size"):
        backbone(config={**VJEPA, "crop_size": 256})


def test_another_video_encoder_of_transformers_needs_only_its_config():
    built = backbone("videomae", VIDEOMAE)
    assert built(torch.zeros(2, 4, 3, 32, 32)).shape == (2, 2 * 2 * 2, 48)


@pytest.mark.parametrize(
    ("family", "config"),
    [("nonesuch", {}), ("vjepa2", {"hidden_size": "wide"}), ("vjepa2", {**VJEPA, "num_attention_heads": 5})],
)
def test_what_transformers_cannot_build_is_named(family, config):
    with pytest.raises(ManifestError, match=f"backbones.base: Transformers cannot build {family}"):
        backbone(family, config)


def test_the_production_backbone_is_a_vit_b_of_86_million_parameters():
    manifest = load_manifest("production")
    for name, spec in manifest.spec.backbones.items():
        with torch.device("meta"):
            built = build_backbone(name, spec, manifest.preprocessing[name])
            tokens = built(torch.zeros(1, 48, 3, 256, 256))
            logits = build_head("low-quality", manifest.spec.heads["low-quality"], built.hidden_size)(tokens)
        assert sum(one.numel() for one in built.parameters()) == 86_236_416
        assert tokens.shape == (1, 6144, 768)
        assert logits.shape == (1, 2)


# ── heads ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_linear_head_is_the_mean_over_tokens_then_one_layer():
    built = head()
    tokens = torch.rand(2, 5, 48)
    assert isinstance(built, LinearHead)
    torch.testing.assert_close(built(tokens), built.linear(tokens.mean(1)))


@pytest.mark.parametrize("depth", [1, 2, 4])
def test_an_attentive_head_has_depth_blocks_of_which_one_is_the_query(depth):
    built = head(kind="attentive", depth=depth, num_attention_heads=4)
    assert isinstance(built, AttentiveHead)
    assert len(built.pooler.self_attention_layers) == depth - 1
    assert built(torch.rand(2, 5, 48)).shape == (2, 3)


def test_an_attentive_head_weighs_tokens_and_a_linear_one_does_not():
    tokens = torch.rand(1, 5, 48)
    repeated = torch.cat([tokens, tokens], dim=1)  # the mean, and attention over equal keys, stay what they were
    shifted = torch.cat([tokens, tokens[:, :1] * 3], dim=1)
    attentive = head(kind="attentive", depth=1, num_attention_heads=4)
    torch.testing.assert_close(attentive(tokens), attentive(repeated), atol=1e-5, rtol=0)
    assert not torch.allclose(attentive(tokens), attentive(shifted))


def test_attention_heads_that_do_not_divide_the_features_are_refused():
    with pytest.raises(ManifestError, match="num_attention_heads = 5 does not divide hidden_size = 48"):
        head(kind="attentive", num_attention_heads=5)


# ── composition ──────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def model():
    heads = {"vfx": head(2), "low-quality.v2": head(3, kind="attentive", depth=2, num_attention_heads=4)}
    return VideoModel(Normalise(SMALL.mean, SMALL.std), backbone(), heads).eval()


def noise(count: int) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(3)
    return [torch.randint(0, 256, (4, 32, 32, 3), dtype=torch.uint8, generator=generator) for _ in range(count)]


def test_each_clip_is_answered_for_exactly_its_heads(model):
    answers = ClipScorer(model, torch.device("cpu"))(
        noise(3), [["vfx"], ["vfx", "low-quality.v2"], ["low-quality.v2"]], 4
    )
    assert [set(answer) for answer in answers] == [{"vfx"}, {"vfx", "low-quality.v2"}, {"low-quality.v2"}]
    for answer in answers:
        for probabilities in answer.values():
            assert probabilities.sum() == pytest.approx(1, abs=1e-6)


def test_other_clips_and_padding_in_the_batch_do_not_change_a_clips_scores(model):
    scorer, both = ClipScorer(model, torch.device("cpu")), ["vfx", "low-quality.v2"]
    together = scorer(noise(3), [both] * 3, 4)
    for clip, answer in zip(noise(3), together, strict=True):
        (alone,) = scorer([clip], [both], 1)
        for name in both:
            assert abs(alone[name] - answer[name]).max() <= 1e-5


# ── the device ───────────────────────────────────────────────────────────────────────────────────────────────────────


def test_auto_takes_float32_on_a_cpu_and_float16_on_a_gpu():
    assert choose_dtype("auto", torch.device("cpu")) is torch.float32
    assert choose_dtype("auto", torch.device("cuda")) is torch.float16
    assert choose_dtype("bfloat16", torch.device("cpu")) is torch.bfloat16


@pytest.mark.parametrize("name", ["tpu", "cuda:first", "cpu:1", "cuda:99"])
def test_a_missing_device_is_refused(name):
    with pytest.raises(ManifestError, match=f"device '?{name}'? is "):
        choose_device(name)


def test_the_device_is_named_in_results():
    cpu = choose_device("cpu")
    assert device_name(cpu)
    assert "torch" in device_info(cpu)


@pytest.mark.parametrize(
    ("error", "fault"),
    [
        (torch.OutOfMemoryError("CUDA out of memory."), Transient),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory"), Transient),
        (torch.AcceleratorError("CUDA error: device-side assert triggered"), DeviceLost),
        (RuntimeError("CUDA error: CUBLAS_STATUS_EXECUTION_FAILED"), DeviceLost),
        (RuntimeError("shape '[2]' is invalid"), None),
        (ValueError("CUDA error"), None),
    ],
)
def test_device_failures_become_transient_errors_and_other_errors_pass(error, fault):
    found = device_fault(error)
    assert type(found) is (fault or type(None))
    with pytest.raises(fault or type(error)), device_faults():
        raise error


def test_two_backbones_of_the_same_spec_give_the_same_tokens():
    clips = torch.rand(1, 4, 3, 32, 32)
    torch.testing.assert_close(backbone()(clips), backbone()(clips), atol=0, rtol=0)
