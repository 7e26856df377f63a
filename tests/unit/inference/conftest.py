"""Decoded videos without a decoder, and the tiny manifest's models, opened once."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np
import pytest

from inference.manifest import Manifest, load_manifest
from inference.models.build import open_models
from inference.models.scoring import Models
from inference.types import Clip, ClipRequest, DecodedVideo, Frames, Picture, PictureSpec, Scope, VideoProbe

FRAMES = 70  # ten a second: windows 0-4 and 3-7
Decode = Callable[..., DecodedVideo]


@pytest.fixture(scope="session")
def tiny() -> Manifest:
    return load_manifest("tiny")


@pytest.fixture(scope="session")
def every_switch(tiny: Manifest) -> frozenset[str]:
    return frozenset(tiny.switches)


@pytest.fixture(scope="session")
def tiny_models(tiny: Manifest) -> Iterator[Models]:
    models = open_models(tiny, device="cpu", threads=2)
    yield models
    models.close()


@pytest.fixture(scope="session")
def decode() -> Decode:
    """``decode(manifest, enabled, seed=0, windows=2)``: a video of noise with the clips of the manifest's plan."""
    return _decode


def _decode(manifest: Manifest, enabled: frozenset[str], *, seed: int = 0, windows: int = 2) -> DecodedVideo:
    requests = manifest.decode_plan(enabled).requests
    pictures = {request.picture: _picture(request.picture, seed) for request in requests}
    clips = tuple(clip for request in requests for clip in _clips(request, windows))
    probe = VideoProbe("mp4", "h264", 640, 360, 0, FRAMES, FRAMES / 10, 1000)
    return DecodedVideo(probe, pictures, clips, 1.0, {"decode": 1.0})


def _picture(spec: PictureSpec, seed: int) -> Picture:
    return Picture(_noise(spec, seed), np.arange(FRAMES) / 10)


def _noise(spec: PictureSpec, seed: int) -> Frames:
    """Blocks of colour that differ from frame to frame, so that order and position of frames matter."""
    rng = np.random.default_rng(seed)
    blocks = rng.integers(0, 256, (FRAMES, spec.height // 16, spec.width // 16, 3), dtype=np.uint8)
    return blocks.repeat(16, axis=1).repeat(16, axis=2)


def _clips(request: ClipRequest, windows: int) -> list[Clip]:
    whole = Clip(request, 0.0, FRAMES / 10, np.linspace(0, FRAMES - 1, request.num_frames).astype(np.int64))
    if request.scope is not Scope.WINDOWS:
        return [whole]
    starts = [place * 3.0 for place in range(windows)]
    within = np.linspace(0, 39, request.num_frames).astype(np.int64)
    return [
        replace(
            whole, start_seconds=start, end_seconds=start + 4, indices=np.minimum(within + int(start * 10), FRAMES - 1)
        )
        for start in starts
    ]
