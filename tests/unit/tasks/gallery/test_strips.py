"""Strips of frames: right pictures and facts, made once, and a reason for each that cannot be made."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from inference.decode import DecoderPool
from storage.objects.directory import DirectoryStore
from storage.uri import ObjectUri
from tasks.gallery.strips import FRAMES, HEIGHT, JOURNAL, WIDTH, jpeg, make_strips, read_journal
from tests.media import number_on, write_clip


@pytest.fixture(scope="module")
def pool() -> Iterator[DecoderPool]:
    with DecoderPool(1) as opened:
        yield opened


@pytest.fixture
def objects(tmp_path: Path) -> DirectoryStore:
    bucket = tmp_path / "objects" / "clips"
    bucket.mkdir(parents=True)
    write_clip(bucket / "good.mp4", 51)
    (bucket / "text.mp4").write_text("no video")
    return DirectoryStore(tmp_path / "objects")


def uris(*keys: str) -> list[ObjectUri]:
    return [ObjectUri("clips", key) for key in keys]


def test_a_strip_holds_six_frames_of_the_video_in_order(
    tmp_path: Path, objects: DirectoryStore, pool: DecoderPool
) -> None:
    (strip,) = make_strips(uris("good.mp4"), tmp_path, objects, pool, 2)
    with Image.open(tmp_path / strip.file) as picture:
        assert picture.size == (FRAMES * WIDTH, HEIGHT)
        pixels = np.asarray(picture.convert("RGB"))
    left = (WIDTH - 96) // 2  # 4:3 frames stand between grey bars
    numbers = [number_on(pixels[:, WIDTH * index + left : WIDTH * index + left + 96]) for index in range(FRAMES)]
    assert numbers == [0, 10, 20, 30, 40, 50]
    assert (strip.width, strip.height, strip.duration_seconds) == (128, 96, 2.04)
    assert strip.frame_seconds == (0.0, 0.4, 0.8, 1.2, 1.6, 2.0)


def test_strips_are_made_once_and_those_that_failed_are_tried_again(
    tmp_path: Path, objects: DirectoryStore, pool: DecoderPool
) -> None:
    made = list(make_strips(uris("good.mp4", "text.mp4", "none.mp4"), tmp_path, objects, pool, 2))
    assert [bool(strip.file) for strip in made] == [True, False, False]
    assert all(strip.reason for strip in made[1:])
    with (tmp_path / JOURNAL).open("a") as journal:
        journal.write('{"uri": "torn')
    assert read_journal(tmp_path) == {"oss://clips/good.mp4": made[0]}
    (tmp_path / made[0].file).unlink()
    assert read_journal(tmp_path) == {}


def test_a_picture_comes_back_from_its_jpeg() -> None:
    picture = np.full((48, 64, 3), (200, 40, 90), np.uint8)
    with Image.open(io.BytesIO(jpeg(picture))) as read:
        assert np.abs(np.asarray(read.convert("RGB")).astype(int) - picture).max() <= 4
