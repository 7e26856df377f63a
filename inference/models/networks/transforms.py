"""Conversion of decoded frames to an encoder's input: uint8 is copied to the device and normalised there."""

from __future__ import annotations

import threading
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from inference.types import Frames, Indices


class Normalise(nn.Module):
    """uint8 clips ``(B, T, H, W, 3)`` -> ``(B, T, 3, H, W)`` of ``dtype``: ``(x / 255 - mean) / std`` per channel.

    One multiply-add in float32 for every ``dtype``: float16 would lose the last bits of a difference of pixels.
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
        """Normalise clips on this module's device; the result is contiguous."""
        values = clips.float().mul_(self.scale).add_(self.shift)
        return values.permute(0, 1, 4, 2, 3).to(self.dtype).contiguous()


def gather_clip(frames: Frames, indices: Indices, *, is_reversed: bool = False, is_pinned: bool = False) -> Tensor:
    """Gather the clip ``(T, H, W, 3)`` uint8 of ``frames`` at ``indices``, on the host.

    From pinned memory, the copy to a GPU runs while the next clip is gathered.
    """
    order = indices[::-1] if is_reversed else indices
    clip = torch.empty((len(order), *frames.shape[1:]), dtype=torch.uint8, pin_memory=is_pinned)
    np.take(frames, order, axis=0, out=clip.numpy(), mode="clip" if _fits(order, len(frames)) else "raise")
    return clip


class BatchUpload:
    """Copies host clips into one batch on ``device``, in memory that is allocated once for the largest batch.

    Every batch size starts at the same address, as replayed CUDA graphs need it. Copies from pinned memory are
    asynchronous; PyTorch reuses the pinned memory for the next clip after the copy. Each thread has a batch of its own.
    """

    def __init__(self, device: torch.device, max_batch: int = 1) -> None:
        self._device = device
        self._max_batch = max_batch
        self._own = threading.local()

    def __call__(self, clips: Sequence[Tensor], count: int) -> Tensor:
        """Return ``(count, T, H, W, 3)``: the clips, then old content as padding; valid until the next call."""
        room: Tensor | None = getattr(self._own, "room", None)
        if room is None or count > len(room) or room.shape[1:] != clips[0].shape:
            shape = (max(count, self._max_batch), *clips[0].shape)
            room = self._own.room = torch.zeros(shape, dtype=torch.uint8, device=self._device)
        batch = room[:count]
        for place, clip in zip(batch, clips, strict=False):
            place.copy_(clip, non_blocking=True)
        return batch


def _fits(indices: Indices, count: int) -> bool:
    # np.take buffers its output in "raise" mode; with checked indices "clip" avoids that.
    return bool(indices.size) and int(indices.min()) >= 0 and int(indices.max()) < count
