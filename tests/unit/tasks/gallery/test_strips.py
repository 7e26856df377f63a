"""Strips of frames: right pictures and facts, made once, and a reason for each that cannot be made."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from inference.decode import DecoderPool
from inference.stills.strip import FRAMES, HEIGHT, WIDTH
from storage.objects.directory import DirectoryStore
from storage.uri import ObjectUri
from tasks.gallery.rows import StoredStrip
from tasks.gallery.strips import JOURNAL, make_strips, read_journal
from tasks.uploads.thumbnails import store_strip
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


def uris(*keys: str) -> dict[ObjectUri, StoredStrip | None]:
    return {ObjectUri("clips", key): None for key in keys}


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


class NoDecoder:
    """Stands where a decoder must not be asked."""

    def decode(self, path: Path, plan: object) -> None:
        raise AssertionError(f"{path} was decoded for {plan}")


def test_a_strip_that_a_worker_stored_is_taken_without_decoding_the_video_and_made_again_when_it_is_gone(
    tmp_path: Path, objects: DirectoryStore, pool: DecoderPool
) -> None:
    (decoded,) = make_strips(uris("good.mp4"), tmp_path, objects, pool, 1)
    content = (tmp_path / decoded.file).read_bytes()
    facts = {"width": 128, "height": 96, "duration_seconds": 2.04, "fps": decoded.frames_per_second}
    facts |= {"codec": decoded.codec, "size_bytes": decoded.size_bytes}
    stored = StoredStrip(store_strip(content, "oss://strips/of", objects), decoded.frame_seconds, facts)
    (uri,) = uris("good.mp4")
    later = tmp_path / "later"
    later.mkdir()
    (taken,) = make_strips({uri: stored}, later, objects, NoDecoder(), 1)  # type: ignore[arg-type]  # not a pool
    assert taken == decoded
    assert (later / taken.file).read_bytes() == content
    assert read_journal(later) == {str(uri): taken}
    shutil.rmtree(tmp_path / "objects" / "strips")
    (made,) = make_strips({uri: stored}, later, objects, pool, 1)
    assert made == decoded
