"""Attentive heads on made tokens: they find what the mean over the tokens hides, and load as a manifest's head."""

from __future__ import annotations

import doctest
from dataclasses import replace

import numpy as np
import pytest
import torch

from inference.errors import TrainingError
from inference.models.checkpoint import Part, load_strictly, read_tensors, select_part
from inference.models.networks.heads import AttentiveHead
from inference.train import attentive
from inference.train.attentive import AttentiveOptions
from inference.train.card import Provenance
from inference.train.checkpoint import write_head
from inference.train.data import LabelledClips
from inference.train.fit import FitOptions, fit_head
from inference.train.manifest_entry import manifest_entry
from tests.unit.inference.train.toy import TRAINED_ON, toy

TOKENS, WIDTH = 6, 16
QUICK = FitOptions(
    resamples=20,
    max_loss=0.3,
    attentive=AttentiveOptions(learning_rates=(3e-3, 1e-2), weight_decays=(0.01,), epochs=25),
)


def marked_tokens(sources: int = 80, clips: int = 4) -> LabelledClips:
    """Return clips of noise: bad ones hold a mark in two tokens, of which the mean over the tokens keeps nothing."""
    random, mark = np.random.default_rng(0), np.zeros(WIDTH)
    mark[0] = 4
    features = random.normal(size=(sources * clips, TOKENS, WIDTH))
    labels, names = [], []
    for row in range(sources * clips):
        is_bad = (row // clips) % 2 == 0
        if is_bad:
            first, second = random.choice(TOKENS, 2, replace=False)
            features[row, first] += mark
            features[row, second] -= mark
        labels.append("marked" if is_bad else "normal")
        names.append(f"film{row // clips}")
    return LabelledClips.of(features.astype(np.float32), labels, names)


@pytest.fixture(scope="module")
def trained():
    clips = marked_tokens()
    return clips, fit_head(clips, QUICK)


def test_the_worked_examples_in_the_docstrings_hold():
    assert doctest.testmod(attentive).failed == 0


def test_an_attentive_head_finds_what_a_linear_one_cannot_see(trained):
    clips, head = trained
    linear = fit_head(clips, replace(QUICK, attentive=None))
    assert head.assessment.figures["test"]["auroc"].value > 0.95
    assert linear.assessment.figures["test"]["auroc"].value < 0.8


def test_one_pass_trains_the_whole_grid_and_stops_early(trained):
    _, head = trained
    assert [one.learning_rate for one in head.grid] == [3e-3, 1e-2]
    assert head.chosen.select_loss == min(min(one.curve) for one in head.grid)
    assert any(len(one.curve) < 25 for one in head.grid)


def test_equal_clips_and_seeds_give_equal_heads(trained):
    clips, head = trained
    again = fit_head(clips, QUICK)
    assert all(torch.equal(tensor, head.head.tensors()[name]) for name, tensor in again.head.tensors().items())


def test_the_loaded_head_gives_the_calibrated_probabilities_and_the_entry_names_its_shape(trained, tmp_path):
    clips, head = trained
    values = write_head(tmp_path / "h", clips, head, QUICK, Provenance(name="h", data="toy", trained_on=TRAINED_ON))
    module = AttentiveHead(WIDTH, 2, depth=1, num_attention_heads=1).eval()
    load_strictly(module, select_part(read_tensors(tmp_path / "h"), Part.HEAD, "here"), source="here")
    with torch.inference_mode():
        found = torch.softmax(module(torch.from_numpy(clips.features[np.arange(8)])), dim=1).numpy()
    np.testing.assert_allclose(found, head.probabilities(clips.features, np.arange(8)), atol=1e-5)
    entry = manifest_entry("h", tmp_path / "h", TRAINED_ON, values)
    assert 'kind = "attentive"\ndepth = 1\nnum_attention_heads = 1\n' in entry
    assert "An attentive head over manifest:base" in (tmp_path / "h/card.md").read_text()
    assert "<!-- epoch -->" in (tmp_path / "h/grid.svg").read_text()


def test_features_without_tokens_are_refused_with_the_remedy():
    with pytest.raises(TrainingError, match="--pool tokens"):
        fit_head(toy(), QUICK)
