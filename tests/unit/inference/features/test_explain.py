from __future__ import annotations

import re

import pytest

from inference.features.explain import Spent, lines, verdict


def spent(clips=100, processes=1, decoder_processes=2, **wall):
    return Spent(
        clips=clips,
        processes=processes,
        decoder_processes=decoder_processes,
        wall_seconds=wall,
        thread_seconds={},
    )


def test_the_four_sums_and_the_shares_add_up():
    text = list(lines(spent(read=1.0, decode=2.0, upload=0.5, forward=5.0, save=0.5, start=1.0)))
    sums = [float(re.search(r"([\d.]+) s$", line)[1]) for line in text[:4]]
    assert sums == [3.5, 5.0, 0.5, 10.0]
    assert sum(float(share) for share in re.findall(r"([\d.]+)%", text[4])) == pytest.approx(100)


def test_a_wait_for_frames_says_what_two_more_cores_would_give():
    said = verdict(spent(decode=8.0, forward=2.0))
    assert said.startswith("decode-bound")
    assert "16.7 clips/s instead of 10.0" in said  # 8 s of decoding on two cores take 4 s on four: 100 clips in 6 s


@pytest.mark.parametrize(
    ("wall", "beginning"),
    [
        ({"forward": 9.5, "decode": 0.5}, "compute-bound"),
        ({"forward": 5.0, "save": 5.0}, "save-bound"),
        ({"forward": 5.0, "read": 5.0}, "read-bound"),
        ({"forward": 1.0, "start": 9.0}, "too short to judge"),
    ],
)
def test_the_verdict_names_the_longest_wait(wall, beginning):
    assert verdict(spent(**wall)).startswith(beginning)


def test_without_a_new_clip_there_is_no_bottleneck():
    assert "every feature was there" in verdict(spent(clips=0, read=1.0))
