"""Heads on made features: as good as scikit-learn's own, calibrated, repeatable, and at chance on shuffled labels."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from inference.train.calibration import calibration_error, fit_calibration
from inference.train.fit import FitOptions, fit_head
from inference.train.linear import softmax
from tests.unit.inference.train.toy import toy

QUICK = FitOptions(resamples=50, max_loss=0.2, weight_decays=(0.001, 0.01, 0.1))


@pytest.fixture(scope="module")
def fitted():
    clips = toy(sources=160)
    return clips, fit_head(clips, QUICK)


def test_the_head_ranks_as_scikit_learns_logistic_regression_does(fitted):
    clips, head = fitted
    rows, test = np.concatenate([head.split.fit, head.split.select]), head.split.test
    model = make_pipeline(StandardScaler(), LogisticRegression()).fit(clips.features[rows], clips.labels[rows])
    expected = roc_auc_score(clips.is_bad[test], model.predict_proba(clips.features[test])[:, 0])
    assert head.assessment.figures["test"]["auroc"].value == pytest.approx(expected, abs=0.01)
    accuracy = (model.predict(clips.features[test]) == clips.labels[test]).mean()
    found = head.probabilities(clips.features, test).argmax(axis=1)
    assert (found == clips.labels[test]).mean() == pytest.approx(accuracy, abs=0.03)


def test_equal_clips_and_options_give_equal_heads(fitted):
    clips, head = fitted
    again = fit_head(clips, QUICK)
    assert np.array_equal(again.head.weight, head.head.weight)
    assert again.assessment.figures == head.assessment.figures


def test_shuffled_labels_land_at_chance():
    clips = toy(sources=160)
    by_source = np.random.default_rng(4).permutation(160) % 2  # the label of a source, drawn anew
    labels = by_source[[int(name.removeprefix("film")) for name in clips.sources]]
    found = fit_head(replace(clips, labels=labels.astype(np.int64)), QUICK).assessment.figures["test"]["auroc"]
    assert found.low <= 0.5 <= found.high


def test_calibration_finds_the_temperature_and_the_prior_that_were_planted():
    random = np.random.default_rng(0)
    true = random.normal(size=(4000, 1)) * [[1.0, -1.0]]
    labels = (random.random(4000) > softmax(true)[:, 0]).astype(np.int64)
    found = fit_calibration(3 * true + [[0.8, -0.8]], labels)
    assert found.temperature == pytest.approx(3, rel=0.1)
    probabilities = found.probabilities(3 * true + [[0.8, -0.8]])
    assert calibration_error(probabilities, labels) < 0.03 < calibration_error(softmax(9 * true), labels)


def test_only_flipped_labels_are_listed_where_classes_lie_far_apart(fitted):
    clips, _ = fitted
    flipped = [3, 250, 401]
    labels = clips.labels.copy()
    labels[flipped] = 1 - labels[flipped]
    apart = toy(sources=160, apart=3.0)
    issues = fit_head(replace(apart, labels=labels), QUICK).assessment.issues
    found = {issue.clip for issue in issues}
    assert found <= {f"clip {row}" for row in flipped}
    assert len(found) >= 2  # one whose probability is below its class's mean is not listed


def test_the_threshold_of_the_card_is_measured_on_sources_apart(fitted):
    _, head = fitted
    found = head.assessment
    assert found.threshold.bound <= 0.2
    assert found.test_caught > 0.6
    assert len(found.thresholds) == 7
