from __future__ import annotations

import doctest
from fractions import Fraction

import numpy as np
import pytest

from inference.decode.frames import timeline
from inference.decode.frames.orientation import Orientation, orientation
from inference.decode.frames.picking import EmissionCheck, Picker
from inference.decode.frames.timeline import MiscountedFramesError, Timeline, present, present_emitted
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


def test_emitted_frames_keep_their_times_and_go_on_where_a_time_is_missing_or_set_back():
    shown = present_emitted([50, 52, None, 56, 1, 3], [None] * 6, time_base=TENTH, rate=None)
    assert shown.ticks is None
    np.testing.assert_allclose(shown.pts_seconds, [0, 0.2, 0.4, 0.6, 0.8, 1.0])
    assert (shown.origin_seconds, shown.duration_seconds) == (pytest.approx(5.0), pytest.approx(1.2))


@pytest.mark.parametrize(
    ("pts", "expected"),
    [
        ([0, None, 2, None, None, 5], [0, 0.1, 0.2, 0.3, 0.4, 0.5]),
        ([None, 1, 2, None], [0, 0.1, 0.2, 0.3]),
        ([0, 0, 2, 2, 4, 4], [0, 0.1, 0.2, 0.3, 0.4, 0.5]),  # packets of two frames
        ([0, 2, 1, 6], [0, 0.2, 0.4, 0.6]),
        ([None, None], [0, 0.04]),
        ([3], [0]),
    ],
)
def test_frames_without_a_time_of_their_own_are_spread_between_their_neighbours(pts, expected):
    shown = present_emitted(pts, [None] * len(pts), time_base=TENTH, rate=None)
    np.testing.assert_allclose(shown.pts_seconds, expected)


def test_emitted_frames_of_a_format_without_pts_have_the_times_of_their_dts():
    shown = present_emitted([7, 7, 7], [4, 0, 2], time_base=TENTH, rate=None, has_true_pts=False)
    np.testing.assert_allclose(shown.pts_seconds, [0, 0.2, 0.4])


def known_timeline(ticks=(0, 10, 20, 30), **options):
    return Timeline(
        container="mov",
        codec="h264",
        width=2,
        height=2,
        pts_seconds=np.arange(4) / 10,
        duration_seconds=0.4,
        ticks=None if ticks is None else np.array(ticks),
        readable_fraction=1.0,
        **options,
    )


def check_of(emissions, wanted=(0, 1, 2, 3), *, is_skipping=False, fed=4, **timeline):
    """Emit those keys; "x" is damage and "." the end of the stream."""
    check = EmissionCheck(known_timeline(**timeline), np.array(wanted), is_skipping=is_skipping)
    for _ in range(fed):
        check.fed()
    for key in emissions:
        if key == "x":
            check.damaged()
        elif key == ".":
            check.ended()
        else:
            check.emitted(key)


@pytest.mark.parametrize(
    ("emissions", "options"),
    [
        ([0, 10, 20, 30, "."], {}),
        ([-5, 0, 10, 20, 30, "."], {}),  # a frame before the first presented one
        ([0, 10], {}),  # the pass may stop early
        ([0, 20, "."], {"wanted": (0, 2), "is_skipping": True}),
        ([0, 10, 30, "."], {"wanted": (0, 3), "is_skipping": True}),
        ([0, "x", 30, "."], {}),  # after damage frames are missing
        ([0, 1, 2, 3, "."], {"ticks": None}),
        ([5, 3, "."], {"is_decoded": True}),
    ],
)
def test_frames_that_agree_with_the_count_are_accepted(emissions, options):
    check_of(emissions, **options)


@pytest.mark.parametrize(
    ("emissions", "options"),
    [
        ([0, 20], {}),  # a packet that showed nothing
        ([0, 5], {}),  # a frame that no packet announced
        ([0, None], {}),
        ([10, 10], {"is_skipping": True, "wanted": (1, 2)}),
        ([20, 10], {"is_skipping": True, "wanted": (2,)}),
        ([0, 10, "."], {}),
        ([0, 30], {"is_skipping": True, "wanted": (0, 2)}),
        ([0, "."], {"is_skipping": True, "wanted": (0, 2)}),
        ([0, 1, 2], {"ticks": None, "fed": 2}),  # a packet that showed two frames
        ([0, 1, "."], {"ticks": None}),
    ],
)
def test_frames_that_disagree_with_the_count_are_reported(emissions, options):
    with pytest.raises(MiscountedFramesError):
        check_of(emissions, **options)


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
