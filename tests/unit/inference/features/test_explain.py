from __future__ import annotations

import re
from dataclasses import replace

import pytest

from inference.features.explain import SpeedFacts, Spent, checklist, lines, verdict


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


def facts(**changes):
    plain = {
        "batches": 25,
        "is_gpu": False,
        "precision": "float32",
        "is_compiled": False,
        "forward_clips": 1,
        "devices": 1,
        "decoder_threads": 8,
    }
    return SpeedFacts(**{**plain, **changes})


def test_the_checklist_is_answered_by_what_was_measured():
    measured = replace(spent(decode=2.0, forward=8.0), thread_seconds={"decode": 8.0})
    lines_of = list(checklist(measured, facts()))
    assert lines_of[0] == "[x] clips share batches: 4.0 a batch"
    assert lines_of[1] == "[x] decoding beside the encoder: 75% of its time costs no wall clock"
    assert "[ ] several devices: 1" in lines_of
    assert "[ ] pinned memory and copies without waiting: no GPU here" in lines_of


def test_the_checklist_of_a_gpu_names_its_precision_and_compilation():
    said = list(checklist(spent(forward=1.0), facts(is_gpu=True, precision="float16", is_compiled=True, devices=2)))
    assert "[x] faster arithmetic: float16" in said
    assert "[x] torch.compile: asked for" in said
    assert "[x] several devices: 2" in said
