"""G3: upload of a clip to the device: uint8 normalised on the device, or float32 normalised on the host."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from bench.accelerator.clock import measure
from bench.accelerator.encoder import MEAN, STD, noise
from bench.accelerator.serving import float_clip
from bench.accelerator.setting import BenchSetting, FigureRow, Figures, attempt
from inference.models.networks.transforms import BatchUpload, Normalise


def upload(setting: BenchSetting) -> Iterator[FigureRow]:
    """Milliseconds per clip until it is normalised on the device, in batches of four."""
    clips = list(noise(setting.shape, 4))
    normalise = Normalise(MEAN, STD, setting.dtype).to(setting.device)
    place = BatchUpload(setting.device, len(clips))
    bytes_per_clip = clips[0].numel()
    ways: dict[str, tuple[Callable[[], Tensor], int]] = {
        "uint8, pageable, normalised on device": (lambda: normalise(place(clips, 4)), bytes_per_clip),
        "float32, normalised on host": (lambda: _floats(setting, clips), 4 * bytes_per_clip),
    }
    if setting.has_gpu:
        pinned = [clip.pin_memory() for clip in clips]
        ways["uint8, pinned, normalised on device"] = (lambda: normalise(place(pinned, 4)), bytes_per_clip)
    for name, (way, size_bytes) in ways.items():
        yield attempt(setting, name, _timed(setting, way, size_bytes, len(clips)))


def _timed(setting: BenchSetting, way: Callable[[], Tensor], size_bytes: int, count: int) -> Callable[[], Figures]:
    def run() -> Figures:
        with torch.inference_mode():
            timing = measure(way, setting.device, setting.seconds)
        return {"ms/clip": 1e3 * timing.median_seconds / count, "MB/clip": size_bytes / 1e6}

    return run


def _floats(setting: BenchSetting, clips: list[Tensor]) -> Tensor:
    batch = torch.stack([torch.from_numpy(float_clip(clip.numpy())) for clip in clips])
    return batch.to(setting.device).to(setting.dtype)
