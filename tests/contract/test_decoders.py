"""Contract of the decoder adapters: every cell of the table in ``decoders.toml`` is checked.

A new decoder joins by a column there. No cell may be forgotten, and none may change unnoticed.
"""

from __future__ import annotations

import subprocess
import sys
import tomllib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from inference.decode import DecoderPool
from inference.decode.frames import sampling
from inference.decode.options import ADAPTERS
from inference.errors import BadVideo, VideoFault
from inference.types import ClipRequest, DecodePlan, Fit, PictureSpec, Scope
from tests.media import FPS, numbers_on
from tests.video_files import DAMAGED, FILES, NOT_VIDEOS, SOUND

ROOT = Path(__file__).resolve().parents[2]
TABLE = tomllib.loads((Path(__file__).parent / "decoders.toml").read_text(encoding="utf-8"))
SECTIONS = {"sound": SOUND, "damaged": DAMAGED, "not_videos": NOT_VIDEOS}
ROWS = {name: row for section in SECTIONS for name, row in TABLE[section].items()}
CELLS = [(adapter, name, row[adapter]) for adapter in TABLE["adapters"] for name, row in ROWS.items()]
RIGHT_IN_BOTH = [name for name, row in ROWS.items() if row["pyav"] == row["decord"] == "right"]

SMALL = PictureSpec(48, 64)
SPARSE = DecodePlan((ClipRequest(Scope.WHOLE, SMALL, 7),))
EVERY_FRAME = DecodePlan((ClipRequest(Scope.WINDOWS, SMALL, 400, window_seconds=1000.0),))
FULL = DecodePlan(
    (
        ClipRequest(Scope.WHOLE, SMALL, 16),
        ClipRequest(Scope.WINDOWS, SMALL, 16),
        ClipRequest(Scope.SAMPLED, PictureSpec(96, 96, Fit.LETTERBOX), 8, interval_seconds=0.5),
    )
)
STAND_IN = "nvdec on what stands in for a GPU"
HANG_SECONDS, DEADLINE_SECONDS = 1.5, 60.0
LOST_BESIDE = 0.02  # share of frames that damage may spoil beyond those it is said to


@pytest.fixture(scope="module")
def pools():
    adapters = {**TABLE["adapters"], STAND_IN: "tests.decoders:nvdec_on_stand_in"}
    opened = {name: DecoderPool(1, decoder=decoder) for name, decoder in adapters.items()}
    yield opened
    for pool in opened.values():
        pool.close()


@pytest.fixture(scope="module")
def file_of(tmp_path_factory):
    """Make a file when it is first asked for."""
    folder = tmp_path_factory.mktemp("files")

    def made(name):
        if not (path := folder / name).exists():
            FILES[name].make(path)
        return path

    return made


def outcome(pool, path, file, deadline_seconds):
    """Expected result: a cell of the table."""
    try:
        sparse = pool.decode(path, SPARSE, timeout_seconds=deadline_seconds)
        every = pool.decode(path, EVERY_FRAME, timeout_seconds=deadline_seconds)
    except BadVideo as error:
        return error.code if str(error) else "an error without a message"
    if every.decoded_fraction < 1.0:
        is_told = share_of_right(every, file) >= every.decoded_fraction - LOST_BESIDE
        return "partial" if is_told else "wrong"
    return "right" if presents(every, file) and picks(sparse, file) else "wrong"


def share_of_right(decoded, file):
    numbers = numbers_on(decoded.pictures[SMALL].frames)
    return sum(found == shown for found, shown in zip(numbers, file.shown, strict=False)) / len(file.shown)


def presents(decoded, file):
    """Every frame in order, each at its time."""
    picture = decoded.pictures[SMALL]
    if numbers_on(picture.frames) != list(file.shown):
        return False
    if file.pts_milliseconds is None:
        expected = np.arange(len(file.shown)) / FPS
    else:
        expected = np.array(file.pts_milliseconds) / 1000
    return np.allclose(picture.pts_seconds, expected, atol=0.002)


def picks(decoded, file):
    """The frames that a uniform sample of the file takes."""
    (clip,) = decoded.clips
    expected = [file.shown[index] for index in sampling.uniform(len(file.shown), len(clip.indices))]
    return numbers_on(decoded.pictures[SMALL].frames[clip.indices]) == expected


@pytest.mark.parametrize(("adapter", "name", "expected"), CELLS, ids=lambda part: part)
def test_a_decoder_gives_the_result_that_the_table_states(pools, file_of, adapter, name, expected):
    deadline_seconds = HANG_SECONDS if expected == VideoFault.DECODE_TIMEOUT else DEADLINE_SECONDS
    assert outcome(pools[adapter], file_of(name), FILES[name], deadline_seconds) in expected.split(" or ")


@pytest.mark.parametrize("section", SECTIONS)
def test_every_file_has_its_row_in_the_table(section):
    assert set(TABLE[section]) == set(SECTIONS[section])


def test_every_shipped_adapter_has_a_column():
    assert set(ADAPTERS) <= set(TABLE["adapters"].values())


def test_the_default_decoder_is_right_on_every_sound_file():
    assert {row["pyav"] for row in TABLE["sound"].values()} == {"right"}


def test_no_shipped_adapter_gives_wrong_frames_without_an_error():
    assert not {name for name, row in ROWS.items() for adapter in ADAPTERS if "wrong" in row[adapter]}


@pytest.mark.parametrize("name", RIGHT_IN_BOTH)
def test_adapters_that_are_both_right_give_equal_frames_and_times(pools, file_of, name):
    ours, theirs = (pools[adapter].decode(file_of(name), FULL) for adapter in ("pyav", "decord"))
    assert ours.probe == theirs.probe
    for one, other in zip(ours.clips, theirs.clips, strict=True):
        assert replace(one, indices=other.indices) == other
        assert one.indices.tolist() == other.indices.tolist()
    for spec, picture in ours.pictures.items():
        assert picture.pts_seconds.tolist() == theirs.pictures[spec].pts_seconds.tolist()
        assert numbers_on(picture.frames[:, 24:72]) == numbers_on(theirs.pictures[spec].frames[:, 24:72])


@pytest.mark.parametrize("adapter", ["nvdec", STAND_IN])
@pytest.mark.parametrize("name", SOUND)
def test_a_gpu_changes_no_frame_no_time_and_no_pixel(pools, file_of, adapter, name):
    ours, theirs = pools["pyav"].decode(file_of(name), FULL), pools[adapter].decode(file_of(name), FULL)
    assert (theirs.decoder == "nvdec") != bool(theirs.fallback_reason)
    assert ours.probe == theirs.probe
    assert [clip.indices.tolist() for clip in ours.clips] == [clip.indices.tolist() for clip in theirs.clips]
    for spec, picture in ours.pictures.items():
        assert picture.pts_seconds.tolist() == theirs.pictures[spec].pts_seconds.tolist()
        assert (picture.frames == theirs.pictures[spec].frames).all()


@pytest.mark.parametrize("name", [*DAMAGED, *NOT_VIDEOS])
def test_a_gpu_gives_the_same_result_for_a_bad_file(pools, file_of, name):
    assert outcome(pools[STAND_IN], file_of(name), FILES[name], DEADLINE_SECONDS) == ROWS[name]["pyav"]


def test_after_every_bad_file_the_next_good_one_is_decoded(pools, file_of):
    good = file_of("closed-gop.mp4")
    for name in [*NOT_VIDEOS, *DAMAGED]:
        with pytest.raises(BadVideo):
            pools["decord"].decode(file_of(name), SPARSE)
        assert picks(pools["decord"].decode(good, SPARSE), FILES["closed-gop.mp4"])


def test_the_page_shows_the_table_as_it_is():
    command = [sys.executable, "docs/render_decoders.py", "--check"]
    answer = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert answer.returncode == 0, answer.stderr
