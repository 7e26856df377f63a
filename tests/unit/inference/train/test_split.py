"""Sources stay together, and every part has clips of every label."""

from __future__ import annotations

import numpy as np
import pytest

from inference.errors import TrainingError
from inference.train.split import PARTS, Shares, source_folds, split_by_source
from tests.unit.inference.train.toy import toy


def test_no_source_is_in_two_parts_and_every_part_has_every_label():
    clips = toy()
    split = split_by_source(clips, Shares(), seed=3)
    parts = {name: split.rows(name) for name in PARTS}
    assert sorted(np.concatenate(list(parts.values()))) == list(range(len(clips)))
    sources = [set(clips.sources[rows]) for rows in parts.values()]
    assert sum(map(len, sources)) == len(set.union(*sources))
    assert all(set(clips.labels[rows]) == {0, 1} for rows in parts.values())
    assert len(parts["fit"]) / len(clips) == pytest.approx(0.55, abs=0.05)


def test_a_seed_gives_one_split_and_another_seed_another():
    clips = toy()
    first, again, other = (split_by_source(clips, Shares(), seed).test for seed in (1, 1, 2))
    assert first.tolist() == again.tolist()
    assert first.tolist() != other.tolist()


def test_a_label_of_fewer_sources_than_parts_is_refused():
    with pytest.raises(TrainingError, match=r"fewer than 4 sources: shaky_video \(3\), normal_video \(3\)"):
        split_by_source(toy(sources=6), Shares(), seed=0)


def test_a_fold_predicts_no_source_that_it_was_fitted_on():
    clips = toy(sources=20)
    for fit, predict in source_folds(clips, 5, seed=0):
        assert not set(clips.sources[fit]) & set(clips.sources[predict])


@pytest.mark.parametrize("shares", [{"fit": 0.0}, {"fit": 0.9}])
def test_shares_that_do_not_sum_to_one_are_refused(shares):
    with pytest.raises(TrainingError, match="must be above 0 and sum to 1"):
        Shares(**shares)
