"""Clocks that jump are repaired so that time goes on; slide shows and gaps of other streams are no jumps."""

from __future__ import annotations

import doctest
import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference.decode.frames import clock
from inference.decode.frames.clock import UNREPAIRED, ClockRepair, Stamps, repair

VIDEO, SOUND = 0, 1


def stamps_of(*packets):
    """Return the stamps of (stream, seconds) in file order; pts and dts are equal."""
    seconds = np.array([moment for _, moment in packets], dtype=np.float64)
    return stamps_from([stream for stream, _ in packets], seconds, seconds)


def stamps_from(streams, pts, dts, keys=()):
    is_key = np.isin(np.arange(len(pts)), keys)
    return Stamps(np.array(streams), np.array(pts, dtype=np.float64), np.array(dts, dtype=np.float64), is_key)


def repaired(stamps, stream, *, leap_seconds=10.0):
    """Return the repaired times of one stream's packets, in milliseconds."""
    repair_of = repair(stamps, leap_seconds=leap_seconds, has_derived_dts=False)
    own = stamps.pts[stamps.stream == stream]
    return [round(moment * 1000) + repair_of.ticks(stream, number, 0.001) for number, moment in enumerate(own)]


def frames(start, count, step=0.04, stream=VIDEO):
    return [(stream, start + step * n) for n in range(count)]


def test_the_examples_in_the_docstrings_are_true():
    assert doctest.testmod(clock, extraglobs={"np": np}).failed == 0


@pytest.mark.parametrize("second", [0.0, 59.0, 59.9, 5000.0])
def test_a_clock_that_is_set_back_or_leaps_goes_on_without_a_gap(second):
    stamps = stamps_of(*frames(60.0, 50), *frames(second, 50))
    assert repaired(stamps, VIDEO) == [60_000 + 40 * n for n in range(100)]


def test_many_jumps_follow_each_other():
    stamps = stamps_of(*frames(60, 20), *frames(1, 20), *frames(900, 20), *frames(2, 20))
    assert repaired(stamps, VIDEO) == [60_000 + 40 * n for n in range(80)]


def test_frames_in_the_order_of_decoding_are_no_jump_and_their_epoch_starts_with_the_first_presented():
    order = [0, 4, 2, 1, 3, 5, 9, 7, 6, 8]
    pts = np.array([60 + 0.04 * n for n in order] + [1 + 0.04 * n for n in order])
    dts = np.array([60 + 0.04 * (n - 2) for n in range(10)] + [1 + 0.04 * (n - 2) for n in range(10)])
    stamps = stamps_from([VIDEO] * 20, pts, dts)
    assert sorted(repaired(stamps, VIDEO)) == [60_000 + 40 * n for n in range(20)]


@pytest.mark.parametrize(("milliseconds_back", "is_jump"), [(0, True), (30, True), (-10, False)])
def test_a_keyframe_before_an_earlier_frame_is_a_jump_even_by_less_than_a_frame(milliseconds_back, is_jump):
    pts = [0, 0.08, 0.04, 0.12, 0.16]
    second = [moment + 0.16 - milliseconds_back / 1000 for moment in pts]
    dts = [-0.04, 0, 0.04, 0.08, 0.12, 0.13, 0.16, 0.2, 0.24, 0.28]
    times = repaired(stamps_from([VIDEO] * 10, [*pts, *second], dts, keys=[0, 5]), VIDEO)
    assert sorted(times) == [40 * n for n in range(10)] if is_jump else times[5:] == [170, 250, 210, 290, 330]


def test_sound_shares_the_shift_of_its_pictures():
    together = [packet for pair in zip(frames(60, 50), frames(60.01, 50, stream=SOUND), strict=True) for packet in pair]
    later = [packet for pair in zip(frames(1, 50), frames(1.01, 50, stream=SOUND), strict=True) for packet in pair]
    stamps = stamps_of(*together, *later)
    pictures, sound = repaired(stamps, VIDEO), repaired(stamps, SOUND)
    assert [heard - seen for seen, heard in zip(pictures, sound, strict=True)] == [10] * 100


def test_a_gap_that_another_stream_fills_is_no_jump():
    sound = frames(0, 1000, stream=SOUND)
    stamps = stamps_of((VIDEO, 0.0), (VIDEO, 0.04), *sound, (VIDEO, 39.5), (VIDEO, 39.54))
    assert repaired(stamps, VIDEO) == [0, 40, 39_500, 39_540]


@pytest.mark.parametrize("step", [5.0, 60.0])
def test_a_slide_show_has_no_jumps(step):
    stamps = stamps_of(*frames(0, 8, step=step))
    assert repair(stamps, leap_seconds=10, has_derived_dts=False) is UNREPAIRED


def test_a_gap_in_a_file_that_is_no_recording_of_a_stream_stays():
    stamps = stamps_of(*frames(0, 50), *frames(100, 50))
    assert repair(stamps, leap_seconds=math.inf, has_derived_dts=False) is UNREPAIRED


def test_a_small_step_back_of_a_derived_dts_is_no_jump():
    pts = np.arange(20) * 0.04
    dts = pts.copy()
    dts[10] -= 0.1
    assert repair(stamps_from([VIDEO] * 20, pts, dts), leap_seconds=math.inf, has_derived_dts=True) is UNREPAIRED


@pytest.mark.parametrize("missing", ["pts", "dts"])
def test_missing_stamps_cause_no_jump(missing):
    known, absent = np.arange(20) * 0.04, np.full(20, np.nan)
    stamps = stamps_from(
        [VIDEO] * 20, absent if missing == "pts" else known, absent if missing == "dts" else known, keys=[0, 10]
    )
    assert repair(stamps, leap_seconds=10, has_derived_dts=False) is UNREPAIRED


def test_thousands_of_jumps_are_repaired_in_little_time():
    stamps = stamps_of(*(packet for n in range(3000) for packet in frames(3000 - n, 10)))
    assert repaired(stamps, VIDEO)[-1] == 3_000_000 + 40 * (30_000 - 1)


def test_a_stream_without_shifts_keeps_its_ticks():
    assert ClockRepair({1: [(0, 5.0)]}).ticks(0, 3, 0.001) == 0


@given(starts=st.lists(st.integers(0, 500), min_size=1, max_size=6), count=st.integers(5, 40))
def test_repaired_times_always_ascend(starts, count):
    stamps = stamps_of(*(packet for start in starts for packet in frames(start, count)))
    times = repaired(stamps, VIDEO)
    assert all(later > earlier for earlier, later in pairwise(times))
