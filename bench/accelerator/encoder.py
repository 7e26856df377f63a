"""The measured encoder: V-JEPA 2 of Transformers, stock or with our changes. Random weights."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from transformers import VJEPA2Config, VJEPA2Model

from inference.models.networks.backbone import Backbone
from inference.models.networks.rope import cache_rope
from inference.models.networks.transforms import Normalise
from inference.models.networks.video_model import VideoModel

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
PATCH, TUBELET = 16, 2  # pixels, frames


@dataclass(frozen=True, slots=True)
class Shape:
    """Dimensions of an encoder and its clip."""

    name: str
    hidden_size: int
    layers: int
    heads: int
    frames: int
    size: int  # pixels, both sides

    @property
    def tokens(self) -> int:
        """Number of tokens of a clip."""
        return self.frames // TUBELET * (self.size // PATCH) ** 2

    @property
    def flop(self) -> float:
        """Floating-point operations of a clip, two per multiply-add, without norms and activations."""
        width, tokens = self.hidden_size, self.tokens
        linear, attention = 24 * tokens * width**2, 4 * tokens**2 * width
        patches = 2 * tokens * width * 3 * TUBELET * PATCH**2
        return float(self.layers * (linear + attention) + patches)


VIT_B = Shape("ViT-B 48x256x256", 768, 12, 12, 48, 256)
TINY = Shape("tiny 16x64x64", 192, 4, 3, 16, 64)


class UnknownAttention(Exception):
    """The attention of the installed Transformers does not fit the cached tables."""


def build_encoder(shape: Shape, *, is_cached: bool, has_predictor: bool = False) -> VJEPA2Model:
    """Build the encoder in float32 on the CPU, with equal weights at every call.

    Raises:
        UnknownAttention: ``is_cached`` is set and the cached tables do not fit.
    """
    config = VJEPA2Config(
        hidden_size=shape.hidden_size,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        crop_size=shape.size,
        frames_per_clip=shape.frames,
        # as deep as the encoder and half as wide, like the default of Transformers for a ViT-B
        pred_hidden_size=shape.hidden_size // 2,
        pred_num_attention_heads=shape.heads,
        pred_num_hidden_layers=shape.layers if has_predictor else 1,
    )
    torch.manual_seed(0)
    model = VJEPA2Model(config).eval().requires_grad_(False)
    if not has_predictor:
        del model.predictor
    if is_cached and not cache_rope(model, shape.name):
        raise UnknownAttention(f"cached position tables do not fit this Transformers' {shape.name}")
    return model


def build_model(
    shape: Shape,
    device: torch.device,
    dtype: torch.dtype,
    *,
    is_cached: bool = True,
    heads: dict[str, nn.Module] | None = None,
) -> VideoModel:
    """Build the encoder as the engine runs it, with uint8 clips as input."""
    own = {name: head.to(dtype) for name, head in (heads or {}).items()}
    backbone = Backbone(build_encoder(shape, is_cached=is_cached), skips_predictor=True).to(dtype)
    return VideoModel(Normalise(MEAN, STD, dtype), backbone, own).to(device).eval()


def noise(shape: Shape, count: int, seed: int = 0) -> Tensor:
    """Random clips ``(count, T, H, W, 3)`` uint8 on the host."""
    generator = torch.Generator().manual_seed(seed)
    size = (count, shape.frames, shape.size, shape.size, 3)
    return torch.randint(0, 256, size, dtype=torch.uint8, generator=generator)
