"""A threshold keeps its promise: its bound is that of Clopper and Pearson for clips of separate sources."""

from __future__ import annotations

import numpy as np
import pytest

from inference.train.thresholds import LossThreshold, Unreachable, choose_threshold, effective_clips, upper_bound

BAD = np.array([0.9, 0.95, 0.2])


def test_the_bound_is_that_of_clopper_and_pearson():
    assert upper_bound(0, 299) <= 0.01 < upper_bound(0, 298)
    assert upper_bound(5, 5) == 1.0


def test_clips_of_one_source_that_are_alike_count_once_and_unlike_ones_fully():
    alike = np.repeat(np.random.default_rng(0).random(20), 5)
    assert effective_clips(alike, np.repeat(np.arange(20), 5).astype(str)) == pytest.approx(20, rel=0.05)
    unlike = np.random.default_rng(1).random(400)
    assert effective_clips(unlike, np.tile(np.arange(20), 20).astype(str)) > 200


def test_the_lowest_threshold_that_keeps_the_promise_is_chosen():
    good = np.linspace(0, 0.5, 400)
    found = choose_threshold(good, np.arange(400).astype(str), BAD, 0.02)
    assert isinstance(found, LossThreshold)
    assert found.bound <= 0.02
    assert upper_bound(found.lost + 1, 400) > 0.02
    assert (good > found.max).sum() == found.lost
    assert found.caught == pytest.approx(2 / 3)


def test_a_target_beyond_the_labels_says_how_many_are_needed_and_what_is_reachable():
    found = choose_threshold(np.linspace(0, 1, 50), np.arange(50).astype(str), BAD, 0.01)
    assert isinstance(found, Unreachable)
    assert found.needed == 299
    assert "the best reachable is 5.8%" in str(found)


def test_the_promise_is_kept_on_new_clips_in_nineteen_of_twenty_draws():
    random, kept = np.random.default_rng(5), 0
    for _ in range(200):
        found = choose_threshold(random.random(300), np.arange(300).astype(str), BAD, 0.05)
        assert isinstance(found, LossThreshold)
        kept += 1 - found.max <= 0.05  # uniform scores: the true loss of a threshold
    assert kept >= 186
