"""Labelled clips are checked before anything is trained."""

from __future__ import annotations

import numpy as np
import pytest

from inference.errors import TrainingError
from inference.train.data import LabelledClips

FEATURES = np.zeros((4, 3), np.float32)
SOURCES = ["a", "b", "c", "d"]


def test_labels_to_drop_come_first_and_normal_ones_are_good():
    clips = LabelledClips.of(FEATURES, ["normal_video", "shaky_video", "shaky_video", "normal_video"], SOURCES)
    assert clips.classes == ("shaky_video", "normal_video")
    assert clips.is_bad.tolist() == [False, True, True, False]
    assert clips.sources_by_class() == {"shaky_video": 2, "normal_video": 2}


@pytest.mark.parametrize(
    ("labels", "good", "message"),
    [
        (["shaky"] * 4, None, r"one label only: shaky \(4\)"),
        (["shaky", "calm"] * 2, None, "no label starts with 'normal'.*--good LABEL"),
        (["shaky", "calm"] * 2, "still", "no clip has the label 'still'"),
        (["normal_a", "normal_b"] * 2, None, "every label means a clip to keep"),
        (["shaky", "normal"], None, "4 clips have features, but there are 2 labels"),
    ],
)
def test_labels_that_cannot_be_trained_are_refused_with_a_remedy(labels, good, message):
    with pytest.raises(TrainingError, match=message):
        LabelledClips.of(FEATURES, labels, SOURCES, good=good)


def test_features_that_are_not_finite_are_named():
    features = FEATURES.copy()
    features[2, 1] = np.nan
    with pytest.raises(TrainingError, match="features of 1 clips are not finite, first at row 2"):
        LabelledClips.of(features, ["shaky", "normal"] * 2, SOURCES)


def test_a_videos_score_is_that_of_its_highest_window():
    clips = LabelledClips.of(
        np.zeros((5, 2), np.float32), ["shaky"] * 2 + ["normal"] * 3, list("aabbc"), videos=list("aabbc")
    )
    scores, rows = clips.by_video(np.array([0, 2, 3, 4]), np.array([0.1, 0.2, 0.9, 0.4]))
    assert scores.tolist() == [0.1, 0.9, 0.4]
    assert clips.videos[rows].tolist() == ["a", "b", "c"]
    assert clips.is_bad[rows].tolist() == [True, False, False]
