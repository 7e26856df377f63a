"""From decoded frames to what an encoder takes: uint8 travels to the device, arithmetic happens there."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from inference.types import Frames, Indices


class Normalise(nn.Module):
    """uint8 clips ``(B, T, H, W, 3)`` -> ``(B, T, 3, H, W)`` of ``dtype``: ``(x / 255 - mean) / std`` per channel.

    One multiply-add in float32, whatever ``dtype``: float16 alone would lose the last bits of a difference of pixels.
    """

    scale: Tensor
    shift: Tensor

    def __init__(self, mean: Sequence[float], std: Sequence[float], dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        divisors = torch.tensor(std, dtype=torch.float64)
        shift = -torch.tensor(mean, dtype=torch.float64) / divisors
        self.register_buffer("scale", (1 / (255 * divisors)).float(), persistent=False)
        self.register_buffer("shift", shift.float(), persistent=False)
        self.dtype = dtype

    def forward(self, clips: Tensor) -> Tensor:
        """Clips on this module's device, normalised; the result is contiguous."""
        values = clips.float().mul_(self.scale).add_(self.shift)
        return values.permute(0, 1, 4, 2, 3).to(self.dtype).contiguous()


def gather_clip(frames: Frames, indices: Indices, *, is_reversed: bool = False, is_pinned: bool = False) -> Tensor:
    """The clip ``(T, H, W, 3)`` uint8 of ``frames`` at ``indices``, on the host.

    Pinned memory lets the copy to a GPU run while the next clip is gathered.
    """
    order = indices[::-1] if is_reversed else indices
    clip = torch.empty((len(order), *frames.shape[1:]), dtype=torch.uint8, pin_memory=is_pinned)
    np.take(frames, order, axis=0, out=clip.numpy(), mode="clip" if _fits(order, len(frames)) else "raise")
    return clip


class Upload:
    """Puts host clips side by side on ``device``, in memory that is taken once for the largest batch.

    Every batch size starts at the same address, as replayed CUDA graphs need it. Clips in pinned memory are copied
    while the host goes on; PyTorch keeps that memory, and gives it to the next clip once it was copied.
    """

    def __init__(self, device: torch.device, max_batch: int = 1) -> None:
        self._device = device
        self._max_batch = max_batch
        self._room: Tensor | None = None

    def __call__(self, clips: Sequence[Tensor], count: int) -> Tensor:
        """The given clips, then what lay there, ``(count, T, H, W, 3)``; until it is called again."""
        if self._room is None or count > len(self._room) or self._room.shape[1:] != clips[0].shape:
            shape = (max(count, self._max_batch), *clips[0].shape)
            self._room = torch.zeros(shape, dtype=torch.uint8, device=self._device)
        batch = self._room[:count]
        for place, clip in zip(batch, clips, strict=False):
            place.copy_(clip, non_blocking=True)
        return batch


def _fits(indices: Indices, count: int) -> bool:
    # np.take buffers its output in "raise" mode; checked indices may take the direct way.
    return bool(indices.size) and int(indices.min()) >= 0 and int(indices.max()) < count
