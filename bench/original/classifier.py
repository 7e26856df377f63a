"""A filter's model in the original design: its own V-JEPA 2, one float32 clip at a time."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from transformers import VJEPA2Config, VJEPA2Model

from inference.manifest import Manifest
from inference.manifest.fields import parse_seed
from inference.manifest.preprocessing import Preprocessing
from inference.manifest.schema import BackboneSpec, FilterSpec
from inference.models.checkpoint import fill_from_seed
from inference.models.networks.heads import build_head
from inference.types import Frames


@dataclass(frozen=True, slots=True)
class Classifier:
    """Classifies a clip's frames. Not thread-safe."""

    backbone: VJEPA2Model
    head: nn.Module
    preprocessing: Preprocessing
    skips_predictor: bool  # the original runs the training-time predictor, the default of Transformers

    @torch.inference_mode()
    def __call__(self, frames: Frames) -> list[float]:
        """Class probabilities of one clip ``(T, H, W, 3)`` uint8."""
        clip = self._normalised(frames).unsqueeze(0)
        tokens = self.backbone(pixel_values_videos=clip, skip_predictor=self.skips_predictor).last_hidden_state
        probabilities: list[float] = self.head(tokens).softmax(dim=-1)[0].tolist()
        return probabilities

    def _normalised(self, frames: Frames) -> Tensor:
        """``(T, 3, H, W)`` float32, on the host."""
        mean, std = torch.tensor(self.preprocessing.mean), torch.tensor(self.preprocessing.std)
        return ((torch.from_numpy(frames).float() / 255 - mean) / std).permute(0, 3, 1, 2).contiguous()


def build_classifiers(manifest: Manifest, one: FilterSpec, count: int, *, skips_predictor: bool) -> list[Classifier]:
    """Build ``count`` instances of a filter's model, with the manifest's seeded weights."""
    head_spec = manifest.spec.heads[one.head]
    preprocessing = manifest.preprocessing[head_spec.backbone]
    spec = manifest.spec.backbones[head_spec.backbone]
    backbone = _build_backbone(spec, preprocessing)
    head = build_head(one.head, head_spec, backbone.config.hidden_size)
    for module, weights in ((backbone, spec.weights), (head, head_spec.weights)):
        fill_from_seed(module, _seed(weights))  # each tensor by its name, so the predictor changes no other
        module.eval().requires_grad_(False)
    first = Classifier(backbone, head, preprocessing, skips_predictor)
    return [first, *(deepcopy(first) for _ in range(count - 1))]


def _build_backbone(spec: BackboneSpec, preprocessing: Preprocessing) -> VJEPA2Model:
    """Build the manifest's encoder with a predictor as deep and half as wide, as a ViT-B has in Transformers."""
    config = VJEPA2Config(
        **spec.config, crop_size=preprocessing.picture.height, frames_per_clip=preprocessing.num_frames
    )
    config.pred_hidden_size = config.hidden_size // 2
    config.pred_num_hidden_layers = config.num_hidden_layers
    config.pred_num_attention_heads = config.num_attention_heads
    return VJEPA2Model(config)


def _seed(weights: str) -> int:
    seed = parse_seed(weights)
    if seed is None:
        raise ValueError(f"weights {weights!r} are not seeded: this comparison builds both sides from seeds")
    return seed
