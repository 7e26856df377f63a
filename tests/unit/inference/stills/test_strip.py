"""The strip of thumbnails: its JPEG, and its frames beside those of other requests in one pass."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from PIL import Image

from inference.decode import DecoderPool
from inference.stills.pictures import encode_picture
from inference.stills.strip import SMALL_JPEG, thumbnails_of, with_thumbnails
from inference.types import ClipRequest, DecodePlan, PictureSpec, Scope
from tests.media import write_clip


def test_a_picture_comes_back_from_its_small_jpeg() -> None:
    picture = np.full((48, 64, 3), (200, 40, 90), np.uint8)
    with Image.open(io.BytesIO(encode_picture(picture, SMALL_JPEG))) as read:
        assert np.abs(np.asarray(read.convert("RGB")).astype(int) - picture).max() <= 4


def test_thumbnails_are_the_same_beside_other_requests_whose_frames_stay_the_same(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "clip.mp4", 51)
    other = ClipRequest(Scope.WHOLE, PictureSpec(48, 64), 4)
    with DecoderPool(1) as pool:
        alone = thumbnails_of(pool.decode(path, with_thumbnails(DecodePlan(()))))
        beside = pool.decode(path, with_thumbnails(DecodePlan((other,))))
        without = pool.decode(path, DecodePlan((other,)))
    assert thumbnails_of(beside) == alone
    assert alone.frame_seconds == (0.0, 0.4, 0.8, 1.2, 1.6, 2.0)
    assert np.array_equal(beside.pictures[other.picture].frames, without.pictures[other.picture].frames)
