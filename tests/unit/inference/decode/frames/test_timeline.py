from __future__ import annotations

import doctest
from fractions import Fraction

import numpy as np
import pytest

from inference.decode.frames import timeline
from inference.decode.frames.orientation import Orientation, orientation
from inference.decode.frames.picking import Picker
from inference.decode.frames.timeline import Timeline, present
from inference.decode.options import DecodeLimits
from inference.errors import BadVideo, VideoFault

TENTH = Fraction(1, 10)


def test_the_examples_in_the_docstrings_are_true():
    assert doctest.testmod(timeline).failed == 0


def test_times_start_at_the_first_presented_frame():
    shown = present([104, 100, 102], [98, 99, 100], time_base=TENTH, rate=None)
    assert shown.ticks.tolist() == [100, 102, 104]
    np.testing.assert_allclose(shown.pts_seconds, [0, 0.2, 0.4])
    assert shown.duration_seconds == pytest.approx(0.6)


@pytest.mark.parametrize("pts", [[0, None, 2], [0, 1, 1], [0, 80, 2]])
def test_pts_that_are_missing_repeated_or_set_back_are_not_trusted(pts):
    shown = present(pts, [0, 2, 4], time_base=TENTH, rate=Fraction(50))
    assert shown.ticks is None
    np.testing.assert_allclose(shown.pts_seconds, [0, 0.2, 0.4])


@pytest.mark.parametrize(("rate", "step"), [(Fraction(50), 0.02), (None, 0.04)])
def test_without_timestamps_the_frame_rate_gives_the_times(rate, step):
    shown = present([None] * 3, [None] * 3, time_base=TENTH, rate=rate)
    np.testing.assert_allclose(shown.pts_seconds, np.arange(3) * step)
    assert shown.duration_seconds == pytest.approx(3 * step)


def test_pts_invented_by_ffmpeg_are_not_trusted():
    assert present([0, 1], [0, 1], time_base=TENTH, rate=None, has_true_pts=False).ticks is None


def picker(wanted, ticks=(0, 10, 20, 30, 40, 50, 60, 70, 80, 90), fraction=0.5):
    known = Timeline(
        container="mov",
        codec="h264",
        width=2,
        height=2,
        pts_seconds=np.arange(10) / 10,
        duration_seconds=1.0,
        ticks=None if ticks is None else np.array(ticks),
        readable_fraction=1.0,
    )
    return Picker(known, [np.array(wanted)], DecodeLimits(min_decoded_fraction=fraction))


def test_a_frame_fills_its_own_position_and_those_of_missing_frames_before_it():
    ours = picker([1, 2, 4])
    assert ours.arrived(0) == []
    assert ours.arrived(30) == [1, 2]
    assert ours.arrived(40) == [4]
    assert not ours.is_done
    assert ours.decoded_fraction() == pytest.approx(3 / 5)


def test_a_late_frame_still_fills_its_position():
    ours = picker([1, 2])
    assert ours.arrived(20) == [1, 2]
    assert ours.arrived(10) == [1]
    assert ours.is_done
    assert ours.decoded_fraction() == 1.0


def test_frames_without_ticks_are_identified_by_their_number():
    ours = picker([0, 3], ticks=None)
    assert [ours.arrived(number) for number in range(4)] == [[0], [], [], [3]]
    assert ours.is_done


def test_a_frame_is_wanted_until_it_was_emitted():
    ours = picker([1])
    assert ours.wants(10)
    assert not ours.wants(20)
    assert not ours.wants(None)
    ours.arrived(10)
    assert not ours.wants(10)


def test_too_many_broken_frames_end_the_pass_at_once():
    ours = picker([0, 9])
    for key in (10, 20, 30, 40, 50):
        ours.broke(key)
    with pytest.raises(BadVideo) as caught:
        ours.broke(60)
    assert caught.value.code == VideoFault.CORRUPT


def matrix(a, b, c, d):
    return np.array([a << 16, b << 16, 0, c << 16, d << 16, 0, 0, 0, 1 << 30], np.int32).tobytes()


@pytest.mark.parametrize(
    ("turned", "expected", "degrees"),
    [
        (orientation(None), [[1, 2], [3, 4]], 0),
        (orientation(matrix(1, 0, 0, 1)), [[1, 2], [3, 4]], 0),
        (orientation(matrix(0, 1, -1, 0)), [[3, 1], [4, 2]], 90),
        (orientation(matrix(-1, 0, 0, -1)), [[4, 3], [2, 1]], 180),
        (orientation(matrix(0, -1, 1, 0)), [[2, 4], [1, 3]], 270),
        (orientation(matrix(-1, 0, 0, 1)), [[2, 1], [4, 3]], 0),
        (orientation(matrix(0, 1, 1, 0)), [[1, 3], [2, 4]], 270),
    ],
)
def test_every_rotation_and_mirroring_is_turned_upright(turned: Orientation, expected, degrees):
    frame = np.repeat(np.array([[1, 2], [3, 4]], np.uint8)[..., None], 3, axis=2)
    assert turned.turn(frame)[..., 0].tolist() == expected
    assert turned.rotation_degrees == degrees
    unturned = np.rot90(turned.turn(frame)[..., 0], degrees // 90)
    assert turned.is_mirrored == (unturned.tolist() != [[1, 2], [3, 4]])
