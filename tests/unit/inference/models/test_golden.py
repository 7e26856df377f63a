"""The engine's scores against a plain reference: one filter, one clip, one pass at a time, with stock Transformers.

The reference uses no code of the product except the drawing of seeded weights.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn
from transformers import VJEPA2Config, VJEPA2Model
from transformers.models.vjepa2.modeling_vjepa2 import VJEPA2AttentivePooler

from inference.manifest import Manifest, parse_manifest
from inference.models.build import open_models
from inference.models.checkpoint import fill_from_seed, save_checkpoint
from inference.types import Scope

MEAN, STD = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
BACKBONE_SEED = {"vfx": 1, "simcam": 1, "rov": 2, "low_quality": 1}
HEAD_SEED = {"vfx": 11, "simcam": 12, "rov": 13, "low_quality": 14}
WIDTH, HEADS = 192, 3
# output -> filter, scope, whether the clip is reversed
OUTPUTS = {
    "vfx_filter": ("vfx", Scope.WHOLE, False),
    "simcam_filter": ("simcam", Scope.WHOLE, False),
    "seg_simcam_filter": ("simcam", Scope.WINDOWS, False),
    "inverse_seg_simcam_filter": ("simcam", Scope.WINDOWS, True),
    "rotate_vertical_filter": ("rov", Scope.WHOLE, False),
    "seg_low_quality_filter": ("low_quality", Scope.WINDOWS, False),
}
CLASSIFIERS = frozenset({"vfx_enable", "com_enable", "rov_enable", "low_quality_enable"})


# ── the reference ────────────────────────────────────────────────────────────────────────────────────────────────────


def reference_backbone(seed: int) -> nn.Module:
    config = VJEPA2Config(
        hidden_size=WIDTH, num_hidden_layers=6, num_attention_heads=HEADS, crop_size=128, frames_per_clip=16
    )
    return seeded(VJEPA2Model(config), seed)


class AttentiveProbe(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.pooler = VJEPA2AttentivePooler(
            VJEPA2Config(hidden_size=WIDTH, num_attention_heads=HEADS, num_pooler_layers=1, attn_implementation="sdpa")
        )
        self.linear = nn.Linear(WIDTH, 2)

    def forward(self, tokens):
        return self.linear(self.pooler(tokens))


class LinearProbe(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(WIDTH, 2)

    def forward(self, tokens):
        return self.linear(tokens.mean(1))


def seeded(module: nn.Module, seed: int) -> nn.Module:
    fill_from_seed(module, seed)
    return module.eval()


@pytest.fixture(scope="module")
def reference(tiny, decode):
    """``reference[output]``: probabilities ``(clips, 2)`` of the video that ``decode`` gives."""
    decoded = decode(tiny, CLASSIFIERS, windows=3)
    backbones = {seed: reference_backbone(seed) for seed in set(BACKBONE_SEED.values())}
    scores = {}
    for output, (name, scope, is_reversed) in OUTPUTS.items():
        head = seeded(AttentiveProbe() if name == "low_quality" else LinearProbe(), HEAD_SEED[name])
        clips = [clip for clip in decoded.clips if clip.request.scope is scope]
        scores[output] = np.array(
            [answer(backbones[BACKBONE_SEED[name]], head, pixels(decoded, clip, is_reversed)) for clip in clips]
        )
    return scores


def pixels(decoded, clip, is_reversed: bool) -> np.ndarray:
    frames = decoded.pictures[clip.request.picture].frames[clip.indices]
    return frames[::-1] if is_reversed else frames


def answer(backbone: nn.Module, head: nn.Module, frames: np.ndarray) -> np.ndarray:
    normalised = (frames / 255.0 - MEAN) / STD
    clip = torch.from_numpy(normalised.transpose(0, 3, 1, 2)[None].astype(np.float32))
    with torch.no_grad():
        tokens = backbone(pixel_values_videos=clip, skip_predictor=True).last_hidden_state
        return head(tokens).softmax(-1)[0].numpy()


# ── the engine ───────────────────────────────────────────────────────────────────────────────────────────────────────


def with_dtype(tiny: Manifest, dtype: str) -> Manifest:
    text = (tiny.directory / "tiny.toml").read_text(encoding="utf-8")
    classifiers = text[: text.index("[detector]")]
    return parse_manifest(
        classifiers.replace('dtype = "auto"', f'dtype = "{dtype}"'), directory=tiny.directory, source="tiny.toml"
    )


def scores_of(manifest: Manifest, decode) -> dict[str, np.ndarray]:
    models = open_models(manifest, device="cpu", threads=2)
    try:
        found = models.score(decode(manifest, CLASSIFIERS, windows=3), CLASSIFIERS)
    finally:
        models.close()
    return {key: np.array([list(one.probabilities.values()) for one in clips]) for key, clips in found.items()}


@pytest.mark.parametrize(
    ("dtype", "tolerance"), [("float32", 1e-5), ("tf32", 1e-5), ("float16", 2e-3), ("bfloat16", 2e-2)]
)
def test_scores_are_those_of_the_plain_reference(tiny, decode, reference, dtype, tolerance):
    found = scores_of(with_dtype(tiny, dtype), decode)
    assert found.keys() == reference.keys()
    for key, wanted in reference.items():
        assert abs(found[key] - wanted).max() <= tolerance, key


def test_the_references_scores_differ_by_clip_direction_and_filter(reference):
    """If all reference scores were equal, wrong clips would pass the golden test."""
    assert np.ptp(reference["seg_simcam_filter"][:, 0]) > 1e-3
    assert abs(reference["seg_simcam_filter"] - reference["inverse_seg_simcam_filter"]).max() > 1e-3
    whole = [float(reference[key][0, 0]) for key in ("vfx_filter", "simcam_filter", "rotate_vertical_filter")]
    assert min(abs(one - other) for place, one in enumerate(whole) for other in whole[:place]) > 1e-3


def test_an_owners_checkpoint_scores_as_the_reference_of_its_modules(tiny, decode, reference, tmp_path):
    head = seeded(LinearProbe(), HEAD_SEED["vfx"])
    tensors = {
        **{f"backbone.model.{key}": value for key, value in reference_backbone(1).state_dict().items()},
        **{f"head.{key}": value for key, value in head.state_dict().items()},
    }
    preprocessor = {"num_timesteps": 16, "input_size": 128, "means": MEAN.tolist(), "stds": STD.tolist()}
    save_checkpoint(tmp_path / "vfx", tensors, {"labels": ["VFX_video", "normal_video"], "preprocessor": preprocessor})
    manifest = parse_manifest(OWNERS, directory=tmp_path, source="owners.toml")
    models = open_models(manifest, device="cpu", threads=2)
    try:
        assert not models.is_untrained
        (found,) = models.score(decode(manifest, frozenset({"vfx_enable"})), frozenset({"vfx_enable"}))["vfx_filter"]
    finally:
        models.close()
    np.testing.assert_allclose(list(found.probabilities.values()), reference["vfx_filter"][0], atol=1e-5)


OWNERS = """
name = "owners"

[backbones.vfx-backbone]
weights = "vfx"
config = { hidden_size = 192, num_hidden_layers = 6, num_attention_heads = 3 }
preprocessing = { fit = "squash" }

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
