from __future__ import annotations

import doctest
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inference import region
from inference.region import CropRule, NoCrop, Region, decide_crop, lasting_regions, safe_crop
from inference.types import Crop, Detection

LOGO = (500.0, 10.0, 620.0, 60.0)


def seen(box, *times, label="logo", score=0.9):
    return [Detection(float(time), label, score, box) for time in times]


def persistent_boxes(detections, num_frames, **options):
    return [one.box for one in lasting_regions(detections, num_frames, **options)]


def test_the_worked_examples_in_the_docstrings_hold():
    assert doctest.testmod(region).failed == 0


def test_a_box_on_most_frames_lasts_and_a_box_on_few_does_not():
    detections = seen(LOGO, *range(9)) + seen((0, 0, 200, 200), 3, 4)
    assert persistent_boxes(detections, 10) == [LOGO]


def test_exactly_half_of_the_frames_is_not_most():
    assert persistent_boxes(seen(LOGO, *range(5)), 10) == []
    assert persistent_boxes(seen(LOGO, *range(6)), 10) == [LOGO]


def test_boxes_that_shake_are_one_region_and_its_box_contains_them_all():
    detections = [Detection(t, "logo", 0.9, (500 + t % 3, 10, 620 + t % 3, 60)) for t in range(10)]
    assert persistent_boxes(detections, 10) == [(500, 10, 622, 60)]


def test_a_box_that_moves_through_the_picture_is_no_lasting_region():
    walker = [Detection(t, "person", 0.9, (t * 40, 100, t * 40 + 100, 300)) for t in range(12)]
    assert persistent_boxes(walker, 12) == []


def test_a_box_with_changing_labels_is_one_region():
    assert persistent_boxes(seen(LOGO, 0, 2, 4, label="text") + seen(LOGO, 1, 3, 5, label="logo"), 8) == [LOGO]


def test_a_region_has_its_most_frequent_label_its_presence_and_its_mean_score():
    detections = seen(LOGO, 0, 1, 2, score=0.9) + seen(LOGO, 3, label="text", score=0.5)
    (found,) = lasting_regions(detections, 5)
    assert found == Region("logo", LOGO, 0.8, pytest.approx(0.8))


def test_captions_of_different_lengths_on_one_line_are_one_band():
    lines = [(320 - half, 300, 320 + half, 330) for half in (60, 200, 90, 250, 70, 180)]
    detections = [Detection(float(t), "subtitle", 0.9, box) for t, box in enumerate(lines)]
    assert persistent_boxes(detections, 6) == [(70, 300, 570, 330)]


def test_a_false_box_over_the_whole_picture_does_not_absorb_the_logo():
    detections = seen(LOGO, *range(10)) + seen((0, 0, 640, 360), 2, 5, 6, score=0.99)
    assert persistent_boxes(detections, 10) == [LOGO]


def test_two_boxes_on_every_frame_are_two_boxes():
    other = (0.0, 300.0, 100.0, 340.0)
    assert persistent_boxes(seen(LOGO, *range(6)) + seen(other, *range(6)), 6) == [LOGO, other]


def test_two_boxes_of_a_region_on_one_frame_count_once():
    assert persistent_boxes(seen(LOGO, 0, 0, 0, 1, 1), 4) == []


def test_without_detections_there_is_no_lasting_region():
    assert persistent_boxes([], 0) == []


@pytest.mark.parametrize(
    ("boxes", "expected"),
    [
        ([], Crop(0, 0, 640, 360)),
        ([(0, 0, 640, 45), (0, 315, 640, 360)], Crop(0, 46, 640, 268)),  # black bars, odd edges rounded outwards
        ([(500, 10, 620, 60)], Crop(0, 60, 640, 300)),
        ([(-50, -50, 20, 400)], Crop(20, 0, 620, 360)),  # a box may stick out of the picture
        ([(700, 0, 800, 100)], Crop(0, 0, 640, 360)),
        ([(30, 30, 30, 90)], Crop(0, 0, 640, 360)),  # a box without area blocks nothing
    ],
)
def test_the_crop_keeps_the_part_without_boxes(boxes, expected):
    assert safe_crop(640, 360, boxes, 0.1) == expected


def test_no_crop_when_too_little_would_be_left():
    centre = [(200, 100, 440, 260)]
    assert safe_crop(640, 360, centre, 0.3) is not None
    assert safe_crop(640, 360, centre, 0.5) is None
    assert safe_crop(640, 360, [(0, 0, 640, 360)], 0.0) is None


def test_an_odd_picture_is_cropped_to_even_sides():
    assert safe_crop(641, 361, [], 0.9) == Crop(0, 0, 640, 360)


def largest_by_brute_force(width, height, boxes):
    free = np.ones((height, width), dtype=int)
    for x1, y1, x2, y2 in boxes:
        free[y1:y2, x1:x2] = 0
    best = 0
    for top in range(0, height, 2):
        for bottom in range(top + 2, height + 1, 2):
            rows_free = free[top:bottom].all(axis=0)
            for left in range(0, width, 2):
                for right in range(left + 2, width + 1, 2):
                    if rows_free[left:right].all():
                        best = max(best, (right - left) * (bottom - top))
    return best


small_boxes = st.tuples(st.integers(0, 15), st.integers(0, 13), st.integers(1, 9), st.integers(1, 9)).map(
    lambda b: (b[0], b[1], min(16, b[0] + b[2]), min(14, b[1] + b[3]))
)


@settings(max_examples=150, deadline=None)
@given(boxes=st.lists(small_boxes, max_size=5))
def test_no_even_sized_rectangle_without_boxes_is_larger_than_the_crop(boxes):
    crop = safe_crop(16, 14, boxes, 0.0)
    expected = largest_by_brute_force(16, 14, boxes)
    assert (crop.width * crop.height if crop else 0) == expected
    if crop is not None:
        assert all(side % 2 == 0 for side in (crop.left, crop.top, crop.width, crop.height))
        kept = (crop.left, crop.top, crop.left + crop.width, crop.top + crop.height)
        assert all(region.iou(kept, box) == 0 for box in boxes)


RULE = CropRule(min_presence=0.6, min_share=0.5, min_frames=3)


def decide(detections, num_frames=10, rule=RULE):
    return decide_crop(detections, num_frames, 640, 360, rule)


def test_the_crop_depends_on_lasting_regions_only():
    decision = decide(seen(LOGO, *range(7)))
    assert decision.made == decision.crop == Crop(0, 60, 640, 300)
    assert decision.share == pytest.approx(300 / 360)
    assert [one.label for one in decision.regions] == ["logo"]


@pytest.mark.parametrize(
    ("detections", "num_frames", "refusal"),
    [
        ([], 10, NoCrop.NO_LASTING_REGION),
        (seen(LOGO, *range(6)), 10, NoCrop.NO_LASTING_REGION),  # 60 % is not more than 60 %
        (seen(LOGO, 0, 1), 2, NoCrop.TOO_FEW_FRAMES),
        (seen((700, 0, 800, 100), *range(10)), 10, NoCrop.NO_LASTING_REGION),  # beside the picture
        (seen((200, 100, 440, 260), *range(10)), 10, NoCrop.TOO_LITTLE_LEFT),
        (seen((0, 0, 640, 360), *range(10)), 10, NoCrop.TOO_LITTLE_LEFT),
    ],
)
def test_every_decision_against_a_crop_has_its_reason(detections, num_frames, refusal):
    decision = decide(detections, num_frames)
    assert decision.made is None
    assert decision.refusal == refusal


def test_the_margin_is_added_around_regions_and_ends_at_the_picture():
    decision = decide(seen(LOGO, *range(10)), rule=replace(RULE, margin=0.01))
    assert decision.made == Crop(0, 68, 640, 292)  # 6.4 pixels below the logo, rounded outwards
    bar = seen((0, 0, 640, 40), *range(10))
    assert decide(bar, rule=replace(RULE, margin=0.01)).made == Crop(0, 48, 640, 312)


def test_a_refused_crop_is_still_part_of_the_decision():
    decision = decide(seen(LOGO, *range(10)), rule=CropRule(refusal=NoCrop.RECORD_ONLY))
    assert decision.made is None
    assert decision.refusal == NoCrop.RECORD_ONLY
    assert decision.crop == Crop(0, 60, 640, 300)
