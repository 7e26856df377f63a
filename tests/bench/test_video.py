"""The bench case ``video``: both designs give equal answers. No test bounds their speed."""

from __future__ import annotations

import re
import sys
from copy import deepcopy

import pytest
import torch

from bench.__main__ import main
from bench.contestants import VideoQueue, original, ours
from bench.equality import difference
from bench.summary import Measured
from bench.video import OWN_DECODER_TOLERANCE, SAME_DECODER_TOLERANCE, closing_line

SHORT = VideoQueue(320, 180, 5, 1)  # two windows
LAST_LINE = re.compile(r"bench video: cpu_ratio_180p=\d+\.\d decode_ratio=\d+\.\d compute_ratio=\d+\.\d equal=yes")


def answer(opened):
    with opened as work:
        return work()()


@pytest.fixture(scope="module")
def judged_by_original():
    threads = torch.get_num_threads()
    yield answer(original(SHORT, False, True))
    torch.set_num_threads(threads)


def test_the_case_runs_and_ends_with_its_ratios(tmp_path, capsys):
    assert main(["--case", "video", "--short", "--rounds", "1", "--results", str(tmp_path)]) == 0
    said = capsys.readouterr().out
    assert LAST_LINE.fullmatch(said.splitlines()[-1])
    assert "video-180p: equal=yes" in said


def test_with_the_same_decoder_both_designs_give_the_same_frames_and_scores(judged_by_original):
    own = answer(ours(SHORT, "decord", True))
    assert difference(judged_by_original.answer, own.answer, SAME_DECODER_TOLERANCE) is None
    (video,) = own.answer
    assert {key: len(clips) for key, clips in video.items()} == {
        "vfx_filter": 1,
        "simcam_filter": 1,
        "seg_simcam_filter": 2,
        "inverse_seg_simcam_filter": 2,
        "rotate_vertical_filter": 1,
        "seg_low_quality_filter": 2,
    }


def test_the_predictor_takes_time_and_does_not_change_scores(judged_by_original):
    skipping = answer(original(SHORT, True, True))
    assert difference(judged_by_original.answer, skipping.answer, SAME_DECODER_TOLERANCE) is None


def test_every_stage_is_counted(judged_by_original):
    assert set(judged_by_original.cpu_seconds) == {"decode", "compute"}
    assert all(seconds > 0 for seconds in judged_by_original.cpu_seconds.values())


@pytest.mark.parametrize(
    ("key", "other"),
    [("seg_simcam_filter", "inverse_seg_simcam_filter"), ("vfx_filter", "simcam_filter")],
)
def test_scores_of_other_clips_or_filters_are_found_to_be_unequal(judged_by_original, key, other):
    (video,) = wrong = deepcopy(judged_by_original.answer)
    for clip, another in zip(video[key], video[other], strict=True):
        clip["scores"] = dict(zip(clip["scores"], another["scores"].values(), strict=True))
    assert "scores" in difference(judged_by_original.answer, wrong, OWN_DECODER_TOLERANCE)


def test_one_other_frame_is_found_to_be_unequal(judged_by_original):
    (video,) = wrong = deepcopy(judged_by_original.answer)
    video["vfx_filter"][0]["frames"][3] += 1
    assert "frames[3]" in difference(judged_by_original.answer, wrong, OWN_DECODER_TOLERANCE)


def measured(variant, decode, compute):
    stages = {"decode": decode, "compute": compute}
    return Measured(0, variant, decode + compute, 1.0, 1000, 0.1, 0.1, stages)


def test_the_last_line_has_both_sizes_and_the_smaller_ratio_of_each_stage():
    rounds = {
        "same decoder, 720p": [measured("original", 1.0, 1.0), measured("ours_with_decord", 9.0, 9.0)],
        "video-720p": [measured("original", 8.0, 2.0), measured("ours", 0.8, 0.8)],
        "video-1080p": [measured("original", 18.0, 2.0), measured("ours", 1.5, 1.0)],
    }
    assert closing_line(rounds) == (
        "bench video: cpu_ratio_720p=6.2 cpu_ratio_1080p=8.0 decode_ratio=10.0 compute_ratio=2.0 equal=yes"
    )


def test_without_decord_the_case_names_the_package_to_install(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "decord", None)
    assert main(["--case", "video", "--short", "--results", str(tmp_path)]) == 1
    assert "pip install 'tamis[decord]'" in capsys.readouterr().out
