from __future__ import annotations

import doctest

import numpy as np

from inference.features import validation
from inference.features.validation import compare


def test_the_worked_examples_in_the_docstrings_hold():
    assert doctest.testmod(validation).failed == 0


def test_the_worst_clip_of_all_videos_decides():
    same = np.ones((3, 4), np.float32)
    other = same.copy()
    other[1] = [1, 1, 1, -1]
    agreement = compare([(same, same), (other, same)])
    assert (agreement.clips, agreement.cosine, agreement.max_difference) == (6, 0.5, 2.0)
    assert not agreement.is_close
    assert "NOT as required" in str(agreement)


def test_token_tensors_and_float16_are_compared_as_numbers():
    tokens = np.random.default_rng(1).normal(size=(2, 5, 8)).astype(np.float32)
    agreement = compare([(tokens.astype(np.float16), tokens)])
    assert agreement.is_close
    assert 0 < agreement.max_difference < 1e-2


def test_features_of_nothing_but_zeros_are_far_from_all():
    assert compare([(np.zeros((1, 4)), np.ones((1, 4)))]).cosine == 0
