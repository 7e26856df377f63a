"""The figures of a head are scikit-learn's."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, average_precision_score, log_loss, roc_auc_score

from inference.train.metrics import FIGURES, scored
from tests.unit.inference.train.toy import toy


@pytest.mark.parametrize("digits", [1, 6])
def test_figures_are_those_of_scikit_learn_with_and_without_ties(digits):
    clips = toy(sources=20)
    first = np.random.default_rng(5).random(len(clips)).round(digits).clip(0.01, 0.99)
    one = scored(clips, np.arange(len(clips)), np.stack([first, 1 - first], axis=1))
    expected = {
        "auroc": roc_auc_score(one.is_bad, one.bad_scores),
        "average_precision": average_precision_score(one.is_bad, one.bad_scores),
        "accuracy": accuracy_score(one.labels, one.probabilities.argmax(axis=1)),
        "log_loss": log_loss(one.labels, one.probabilities),
    }
    assert {name: FIGURES[name](one) for name in expected} == pytest.approx(expected)
