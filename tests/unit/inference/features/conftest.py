"""Small encoders, opened in no time, and clips whose frames carry their number."""

from __future__ import annotations

from pathlib import Path

import pytest

from inference.decode import DecoderPool
from inference.manifest import Manifest, parse_manifest

SMALL = """
name = "small"
[backbones.base]
weights = "seed:1"
config = { hidden_size = 48, num_hidden_layers = 2, num_attention_heads = 2 }
[backbones.base.preprocessing]
num_frames = 4
size = 32
fit = "squash"
mean = [0.5, 0.5, 0.5]
std = [0.5, 0.5, 0.5]
[heads.vfx]
backbone = "base"
labels = ["VFX_video", "normal_video"]
weights = "seed:2"
[[filters]]
name = "vfx"
switch = "vfx_enable"
head = "vfx"
outputs = [{ key = "vfx_filter", scope = "whole" }]
"""


@pytest.fixture(scope="session")
def small(tmp_path_factory) -> Manifest:
    return parse_manifest(SMALL, directory=tmp_path_factory.mktemp("small"), source="small")


@pytest.fixture(scope="session")
def decoders():
    with DecoderPool(2) as pool:
        yield pool


@pytest.fixture(scope="session")
def videos(tmp_path_factory) -> list[Path]:
    from tests.media import write_clip

    root = tmp_path_factory.mktemp("videos")
    return [write_clip(root / f"{count}.mp4", count) for count in (3, 10, 37)]
