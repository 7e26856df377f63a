"""Prepare frames for a model at one of three levels, on the CPU or on the GPU."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torchvision.transforms import v2

from inference.profiling.options import PrepLevel
from inference.types import Frames

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
SHORTEST_EDGE_RATIO = 256 / 224  # torchvision's own for its first weights of most models

Prepare = Callable[[Sequence[Tensor]], Tensor]
"""Frames ``(3, height, width)`` uint8, of any sizes, on one device -> ``(frames, 3, size, size)`` float32 there."""


def to_tensors(frames: Sequence[Frames]) -> list[Tensor]:
    """Frames ``(height, width, 3)`` as views ``(3, height, width)``; nothing is copied."""
    return [torch.from_numpy(frame).permute(2, 0, 1) for frame in frames]


def make_preparation(
    level: PrepLevel,
    size: int,
    mean: Sequence[float] = IMAGENET_MEAN,
    std: Sequence[float] = IMAGENET_STD,
) -> Prepare:
    """Return the preparation of ``level`` for square frames of ``size`` pixels."""
    transform = v2.Compose(_steps(level, size, mean, std))
    return lambda frames: torch.stack([transform(frame) for frame in frames])


def _steps(level: PrepLevel, size: int, mean: Sequence[float], std: Sequence[float]) -> list[torch.nn.Module]:
    scale = v2.ToDtype(torch.float32, scale=True)
    if level is PrepLevel.SIMPLE:
        return [v2.Resize((size, size)), scale]
    normalise = v2.Normalize(list(mean), list(std))
    if level is PrepLevel.MEDIUM:
        return [v2.Resize(round(size * SHORTEST_EDGE_RATIO)), v2.CenterCrop(size), scale, normalise]
    augmented = [
        v2.RandomResizedCrop(size, scale=(0.5, 1.0)),
        v2.RandomHorizontalFlip(),
        v2.ColorJitter(0.2, 0.2, 0.2, 0.05),
        v2.GaussianBlur(5),
    ]
    return [*augmented, scale, normalise]
