"""Signals of an encoded file, decoded in a child process: as those of its frames in memory."""

from __future__ import annotations

from dataclasses import replace
from math import isnan

import numpy as np
import pytest

from inference.decode import DecoderPool
from inference.signals import REQUESTS, analyse
from inference.types import DecodedVideo, DecodePlan
from tests.media import real_clip, write_clip
from tests.unit.inference.signals.synthetic import COUNT, FPS, HEIGHT, WIDTH, moving, signals

BAR = 20  # lines


@pytest.fixture(scope="module")
def frames():
    """A pan of 2 pixels a frame between bars, which stops for the second half."""
    shown = np.concatenate([moving(2), np.repeat(moving(2)[-1:], COUNT, axis=0)])
    shown[:, :BAR] = shown[:, HEIGHT - BAR :] = 0
    return shown


@pytest.fixture(scope="module")
def decoded(frames, tmp_path_factory) -> DecodedVideo:
    path = write_clip(tmp_path_factory.mktemp("signals") / "pan.mp4", len(frames), paint=lambda number: frames[number])
    with DecoderPool(1) as pool:
        return pool.decode(path, DecodePlan(REQUESTS))


def test_a_decoded_file_has_the_signals_of_its_frames(decoded, frames):
    found, expected = analyse(decoded).values(), signals(frames)
    for name in ("luma", "saturation", "bars_share", "duplicate_share"):
        assert found[name] == pytest.approx(expected[name], abs=0.025), name  # a line of the overview
    for name in ("contrast", "blur"):  # libswscale and OpenCV scale by different filters, and encoding blurs
        assert found[name] == pytest.approx(expected[name], abs=0.08), name


def test_a_window_is_measured_on_its_own_frames(decoded):
    analysis = analyse(decoded)
    middle = COUNT / FPS
    panned, stopped = analysis.values(0, middle), analysis.values(middle, 2 * middle)
    assert panned["camera_pan"] == pytest.approx(2 * FPS / WIDTH, rel=0.05)
    assert panned["frozen_share"] == 0
    assert stopped["camera_pan"] < 0.01
    assert stopped["frozen_share"] > 0.5
    assert panned["bits_per_pixel"] > stopped["bits_per_pixel"] > 0


def test_the_five_cuts_of_a_real_clip_are_found_and_cars_and_legs_that_pass_are_none():
    with DecoderPool(1) as pool:
        found = analyse(pool.decode(real_clip("bikes.mp4"), DecodePlan(REQUESTS))).series["cuts_per_minute"]
    assert found.seconds[found.values > 0] == pytest.approx([1.1, 3.1, 5.4, 7.4, 9.6], abs=0.15)  # seen by eye


def test_bits_per_pixel_fall_and_blockiness_grows_as_a_video_is_crushed(tmp_path, frames):
    shown, found = frames[: COUNT // 2], []
    with DecoderPool(1) as pool:
        for crf in (12, 28, 44):
            options = {"preset": "ultrafast", "crf": str(crf)}  # this preset does not smooth the blocks' edges
            path = write_clip(tmp_path / f"{crf}.mp4", len(shown), codec_options=options, paint=shown.__getitem__)
            found.append(analyse(pool.decode(path, DecodePlan(REQUESTS))).values())
            whole_file = 8 * path.stat().st_size / (len(shown) * WIDTH * HEIGHT)
            assert 0.5 * whole_file < found[-1]["bits_per_pixel"] < whole_file
    bits, blocks = ([one[name] for one in found] for name in ("bits_per_pixel", "blockiness"))
    assert bits == sorted(bits, reverse=True)
    assert blocks == sorted(blocks)


def test_a_span_without_frames_is_unmeasured(decoded):
    assert all(isnan(value) for value in analyse(decoded).values(100, 104).values())


def test_a_video_decoded_without_the_requests_is_refused(decoded):
    with pytest.raises(ValueError, match=r"add inference\.signals\.REQUESTS"):
        analyse(replace(decoded, clips=()))
