from __future__ import annotations

import doctest
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference.decode.frames import sampling


def test_the_examples_in_the_docstrings_are_true():
    assert doctest.testmod(sampling, extraglobs={"np": np}).failed == 0


@given(available=st.integers(1, 5000), wanted=st.integers(1, 100))
def test_uniform_is_linspace_rounded_down(available, wanted):
    indices = sampling.uniform(available, wanted)
    assert indices.tolist() == np.linspace(0, available - 1, wanted).astype(int).tolist()
    assert indices[0] == 0
    assert wanted == 1 or indices[-1] == available - 1
    assert (np.diff(indices) >= 0).all()


@pytest.mark.parametrize(("available", "wanted"), [(0, 4), (4, 0)])
def test_uniform_refuses_zero_frames(available, wanted):
    with pytest.raises(ValueError, match="at least 1"):
        sampling.uniform(available, wanted)


@pytest.mark.parametrize(
    ("duration_seconds", "expected"),
    [
        (60, [(float(start), float(start + 4)) for start in range(0, 55, 3)] + [(57.0, 60.0)]),
        (10, [(0, 4), (3, 7), (6, 10)]),
        (10.5, [(0, 4), (3, 7), (6, 10), (9, 10.5)]),
        (4, [(0, 4)]),
        (4.5, [(0, 4), (3, 4.5)]),
        (2, [(0, 2)]),
        (0.5, [(0, 0.5)]),
        (0, [(0, 0)]),
    ],
)
def test_windows_add_time_beyond_the_overlap_and_end_with_the_video(duration_seconds, expected):
    assert sampling.windows(duration_seconds) == expected


@given(
    duration_seconds=st.floats(0.01, 2000),
    window_seconds=st.floats(0.5, 30),
    overlap_share=st.floats(0, 0.9),
)
def test_windows_cover_the_whole_video(duration_seconds, window_seconds, overlap_share):
    overlap_seconds = window_seconds * overlap_share
    found = sampling.windows(duration_seconds, window_seconds, overlap_seconds)
    assert found[0][0] == 0
    assert found[-1][1] >= duration_seconds - 2e-6
    assert all(end <= duration_seconds and end - start <= window_seconds + 1e-6 for start, end in found)
    assert all(this[1] >= following[0] - 1e-6 for this, following in pairwise(found))
    assert all(start + overlap_seconds < duration_seconds for start, _ in found[1:])


def test_windows_that_would_not_advance_are_refused():
    with pytest.raises(ValueError, match="overlap"):
        sampling.windows(10, 4, 4)


def test_a_window_takes_its_frames_without_the_one_at_its_end():
    pts_seconds = np.arange(300) / 30
    assert sampling.within(pts_seconds, 3.0, 7.0).tolist() == list(range(90, 210))


def test_a_window_without_frames_takes_the_nearest():
    pts_seconds = np.array([0.0, 1.0, 9.0, 9.5])
    assert sampling.within(pts_seconds, 3.0, 7.0).tolist() == [1]
    assert sampling.window_frames(pts_seconds, 6.0, 8.9, 3).tolist() == [2, 2, 2]


@given(
    gaps=st.lists(st.floats(0.001, 3), min_size=1, max_size=80),
    start_seconds=st.floats(0, 100),
    length_seconds=st.floats(0.1, 8),
    num_frames=st.integers(1, 48),
)
def test_a_window_is_never_empty_and_always_in_order(gaps, start_seconds, length_seconds, num_frames):
    pts_seconds = np.cumsum([0.0, *gaps])
    indices = sampling.window_frames(pts_seconds, start_seconds, start_seconds + length_seconds, num_frames)
    assert len(indices) == num_frames
    assert (np.diff(indices) >= 0).all()
    assert 0 <= indices[0] <= indices[-1] < len(pts_seconds)


def test_sampled_takes_the_frame_on_screen_and_none_twice():
    assert sampling.sampled(np.array([0.0, 0.9, 1.1, 5.0]), 1.0, 16).tolist() == [0, 1, 2, 3]


def test_sampled_over_the_limit_is_spread_over_the_whole_video():
    indices = sampling.sampled(np.arange(1800) / 30, 1.0, 16)
    assert len(indices) == 16
    assert indices[0] == 0
    assert indices[-1] == 59 * 30


def test_sampled_refuses_an_interval_of_zero():
    with pytest.raises(ValueError, match="interval_seconds"):
        sampling.sampled(np.array([0.0]), 0.0, 4)


def test_a_burst_is_short_where_the_video_is_and_one_frame_where_frames_are_far_apart():
    assert [run.tolist() for run in sampling.bursts(np.arange(3) / 25, 8, 3.0)] == [[0, 1, 2]]
    assert [len(run) for run in sampling.bursts(np.arange(20) / 2, 8, 3.0)] == [1, 1, 1, 1]


@pytest.mark.parametrize(("num_frames", "interval_seconds"), [(0, 3.0), (8, 0.0)])
def test_bursts_refuse_no_frames_and_an_interval_of_zero(num_frames, interval_seconds):
    with pytest.raises(ValueError, match="both must be above 0"):
        sampling.bursts(np.arange(9) / 25, num_frames, interval_seconds)


def test_reading_backwards_is_slicing():
    assert sampling.uniform(10, 4)[::-1].tolist() == [9, 6, 3, 0]
