"""Average precision of the detector's boxes, against values worked out by hand, and boxes of a letterboxed clip."""

from __future__ import annotations

import numpy as np
import pytest

from inference.train.starter.boxes import LABELS, average_precision, find_boxes, measure_regions, overlap

BORDER, LOGO = LABELS.index("border"), LABELS.index("logo")


def found(*rows: tuple[float, ...]) -> np.ndarray:
    return np.array(rows, np.float32).reshape(-1, 6)


def test_the_overlap_is_the_intersection_over_the_union() -> None:
    assert overlap((0, 0, 1, 1), (0.5, 0, 1.5, 1)) == pytest.approx(1 / 3)
    assert overlap((0, 0, 1, 1), (2, 0, 3, 1)) == 0


def test_true_boxes_found_first_give_one_and_a_second_box_on_one_of_them_is_false() -> None:
    true = [[(0.0, 0.0, 0.5, 0.5)], [(0.5, 0.5, 1.0, 1.0)]]
    first, second = (LOGO, 0.9, 0.0, 0.0, 0.5, 0.5), (LOGO, 0.6, 0.5, 0.5, 1.0, 1.0)
    again = (LOGO, 0.8, 0.0, 0.0, 0.5, 0.48)
    assert average_precision(true, [found(first), found(second)]) == 1
    assert average_precision(true, [found(first, again), found(second)]) == pytest.approx((1 + 2 / 3) / 2)
    assert average_precision(true, [found(first), found()]) == 0.5
    assert average_precision([[], []], [found(first), found()]) is None


def test_labels_are_measured_apart_and_one_that_no_clip_has_counts_for_nothing() -> None:
    drawn = [{"region": "bars", "boxes": [(0, 0, 1, 0.1)]}, {"region": "logo", "boxes": [(0, 0, 0.1, 0.1)]}]
    figures = measure_regions(drawn, [found((BORDER, 1, 0, 0, 1, 0.1)), found((BORDER, 0.5, 0, 0, 0.1, 0.1))])
    assert figures.average_precision == {"border": 1.0, "logo": 0.0, "caption": None}
    assert figures.mean == 0.5


def test_the_bars_of_a_letterboxed_clip_are_found_as_shares_of_the_picture() -> None:
    frames = np.random.default_rng(0).integers(60, 255, (8, 100, 160, 3), np.uint8)
    frames[:, :10] = frames[:, 90:] = 0
    boxes = find_boxes(frames)
    borders = boxes[boxes[:, 0] == BORDER][:, 2:]
    assert np.allclose(borders, [[0, 0, 1, 0.1], [0, 0.9, 1, 1]], atol=0.011)
