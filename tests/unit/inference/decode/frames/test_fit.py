from __future__ import annotations

import doctest

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference.decode.frames import fit
from inference.decode.frames.fit import Placement, place, placement
from inference.types import Fit, PictureSpec

sides = st.integers(1, 4000)


def test_the_examples_in_the_docstrings_are_true():
    assert doctest.testmod(fit, extraglobs={"PictureSpec": PictureSpec, "Fit": Fit}).failed == 0


@given(width=sides, height=sides, target=st.integers(8, 1024))
def test_a_letterbox_touches_two_borders_and_fits_inside(width, height, target):
    placed = placement(PictureSpec(target, target, Fit.LETTERBOX), width, height)
    assert max(placed.width, placed.height) == target
    assert 0 <= placed.left <= target - placed.width
    assert 0 <= placed.top <= target - placed.height
    assert abs((target - placed.width) - 2 * placed.left) <= 1
    assert abs((target - placed.height) - 2 * placed.top) <= 1


@given(width=sides, height=sides, target=st.integers(8, 512), margin=st.integers(0, 64))
def test_a_centre_crop_of_a_square_covers_it(width, height, target, margin):
    spec = PictureSpec(target, target, Fit.CENTRE_CROP, shortest_edge=target + margin)
    placed = placement(spec, width, height)
    assert min(placed.width, placed.height) == target + margin
    assert placed.left <= 0 <= placed.left + placed.width - target
    assert placed.top <= 0 <= placed.top + placed.height - target


@pytest.mark.parametrize(("width", "height", "left", "top"), [(1280, 721, -480, -201), (100, 320, 110, 0)])
def test_native_keeps_the_size_and_centres_the_picture(width, height, left, top):
    assert placement(PictureSpec(320, 320, Fit.NATIVE), width, height) == Placement(width, height, left, top, 0)


def test_squash_ignores_the_aspect_ratio():
    assert placement(PictureSpec(256, 128), 1920, 1080) == Placement(128, 256, 0, 0, 0)


@pytest.mark.parametrize(
    ("placed", "expected"),
    [
        (Placement(2, 2, 0, 0, 9), [[1, 2], [3, 4]]),
        (Placement(2, 2, 0, -1, 9), [[3, 4], [9, 9]]),
        (Placement(2, 2, 1, 0, 9), [[9, 1], [9, 3]]),
        (Placement(2, 2, -1, -1, 9), [[4, 9], [9, 9]]),
    ],
)
def test_placing_cuts_pixels_outside_and_pads_the_rest(placed, expected):
    scaled = np.repeat(np.array([[1, 2], [3, 4]], np.uint8)[..., None], 3, axis=2)
    canvas = np.zeros((2, 2, 3), np.uint8)
    place(scaled, placed, canvas)
    assert canvas[..., 0].tolist() == expected
