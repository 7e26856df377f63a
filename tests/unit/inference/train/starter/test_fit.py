"""Fitting on features made up here: what is there is found, and shuffled labels give chance."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from inference.signals import NAMES
from inference.train.starter.fit import Examples, fit_combination, fit_upright, turned_probability

RNG = np.random.default_rng(5)
LABELS = ("bad_video", "normal_video")


def clips(count: int) -> Examples:
    """Clips whose first signal is higher where the answer is yes; a tenth of the values could not be measured."""
    answers = RNG.random(count) < 0.5
    inputs = RNG.standard_normal((count, len(NAMES))).astype(np.float32)
    inputs[:, 0] += answers * 2.5
    inputs[RNG.random(inputs.shape) < 0.1] = np.nan
    groups = np.array([f"source-{place // 4}" for place in range(count)])
    return Examples(inputs=inputs, answers=answers, groups=groups, is_real=RNG.random(count) < 0.4)


def auroc(fitted_on: Examples, measured_on: Examples) -> float:
    rule = fit_combination(fitted_on, LABELS)
    scores = [rule.answer(dict(zip(NAMES, row.tolist(), strict=True))).probability for row in measured_on.inputs]
    return float(roc_auc_score(measured_on.answers, np.array(scores, float)))


def test_a_combination_finds_the_signal_that_tells() -> None:
    assert auroc(clips(400), clips(400)) > 0.9


def test_shuffled_labels_give_chance() -> None:
    taught = clips(400)
    assert abs(auroc(replace(taught, answers=RNG.permutation(taught.answers)), clips(400)) - 0.5) < 0.12


def test_the_band_of_unsure_leaves_few_false_alarms_on_real_video() -> None:
    taught, apart = clips(600), clips(600)
    rule = fit_combination(taught, LABELS)
    real = apart.inputs[apart.is_real & ~apart.answers]
    answers = [rule.answer(dict(zip(NAMES, row.tolist(), strict=True))) for row in real]
    alarms = [one.probability is not None and one.probability >= rule.high for one in answers]
    assert np.mean(alarms) < 0.15
    assert rule.low <= 0.5 <= rule.high


@pytest.mark.parametrize("turns", [1, 2, 3])
def test_a_turned_clip_is_told_by_the_view_in_which_it_stands_upright(turns: int) -> None:
    def views(quarter_turns: np.ndarray) -> np.ndarray:
        found = RNG.standard_normal((len(quarter_turns), 4, 8)).astype(np.float32)
        found[np.arange(len(quarter_turns)), -quarter_turns % 4, 0] += 4
        return found

    drawn = np.where(RNG.random(300) < 0.5, 0, RNG.integers(1, 4, 300))
    taught = Examples(
        inputs=views(drawn),
        answers=drawn > 0,
        groups=np.array([f"source-{place // 3}" for place in range(300)]),
        is_real=np.ones(300, bool),
    )
    head = fit_upright(taught, drawn)
    assert turned_probability(head, views(np.full(50, turns))).mean() > 0.8
    assert turned_probability(head, views(np.zeros(50, np.int64))).mean() < 0.2
