"""Small encoders, opened in no time, and clips whose frames carry their number."""

from __future__ import annotations

from pathlib import Path

import pytest

from inference.decode import DecoderPool
from inference.manifest import Manifest, parse_manifest
from tests.small_manifest import SMALL


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
