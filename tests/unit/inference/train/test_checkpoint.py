"""A trained head on disk: weights that a manifest's head loads, and a card whose figures are those of the fit."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from inference.errors import TrainingError
from inference.features.plan import Pooling
from inference.models.checkpoint import Part, load_strictly, read_tensors, select_part
from inference.models.networks.heads import LinearHead
from inference.train.card import Provenance, summary_line
from inference.train.checkpoint import write_head
from inference.train.fit import FitOptions, fit_head
from inference.train.manifest_entry import manifest_entry
from inference.types import Scope
from tests.unit.inference.train.toy import TRAINED_ON, WIDTH, toy

ORIGIN = Provenance(name="shaky", data="toy", trained_on=TRAINED_ON)


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    clips, options = toy(), FitOptions(resamples=20, weight_decays=(0.01, 0.1))
    head = fit_head(clips, options)
    directory = tmp_path_factory.mktemp("out") / "shaky"
    return clips, head, directory, write_head(directory, clips, head, options, ORIGIN)


def test_the_loaded_head_gives_the_calibrated_probabilities(written):
    clips, head, directory, _ = written
    module = LinearHead(WIDTH, 2)
    load_strictly(module, select_part(read_tensors(directory), Part.HEAD, "here"), source="here")
    tokens = torch.from_numpy(clips.features[np.arange(8)])[:, None]
    with torch.inference_mode():
        found = torch.softmax(module(tokens), dim=1).numpy()
    np.testing.assert_allclose(found, head.probabilities(clips.features, np.arange(8)), atol=1e-5)


def test_the_card_has_the_data_the_split_and_the_figures(written):
    clips, head, directory, values = written
    assert json.loads((directory / "card.json").read_text()) == json.loads(json.dumps(values))
    text = (directory / "card.md").read_text()
    assert f"{len(clips)} clips of toy" in text
    assert "for 16 frames of 224 x 224 pixels over the whole video" in text
    assert f"{head.assessment.figures['test']['auroc'].value:.3f}" in text
    assert "No threshold: at most 1.0% of good clips lost cannot be promised" in text
    assert "| 1.0% | – | needs 299 good clips of separate sources | – |" in text
    assert (directory / "reliability.svg").read_text().startswith("<?xml")
    assert summary_line(values).startswith(f"train: auroc={values['figures']['test']['auroc']['value']:.3f} ece=")


@pytest.mark.parametrize(
    ("labels", "good", "expected"),
    [
        (("shaky_video", "normal_video"), ["normal_video"], "max = 0.8"),
        (("drop", "keep"), ["keep"], 'label = "drop"\nmax = 0.8'),
        (("blurred", "shaky", "keep"), ["keep"], 'label = "keep"\nmin = 0.2'),
    ],
)
def test_the_manifest_entry_puts_the_threshold_on_the_labels_to_drop(written, labels, good, expected):
    data = {"labels": dict.fromkeys(labels, 1), "good": good}
    values = {**written[3], "data": data, "chosen": {"max": 0.8}}
    entry = manifest_entry("shaky", written[2], TRAINED_ON, values)
    assert entry.endswith(f"[thresholds.shaky_filter]\n{expected}")


def test_the_entry_of_a_head_on_windows_states_their_length_and_overlap(written):
    plan = replace(TRAINED_ON.plan, scope=Scope.WINDOWS, window_seconds=2, overlap_seconds=0.5)
    entry = manifest_entry("shaky", written[2], replace(TRAINED_ON, plan=plan), written[3])
    assert 'scope = "windows", window_seconds = 2.0, overlap_seconds = 0.5' in entry


@pytest.mark.parametrize(
    ("model_type", "change", "message"),
    [
        ("videomae", {}, "are of videomae, .* declare it as a backbone"),
        ("manifest:base", {"scope": Scope.SLIDING}, "sliding clips .*stride 16, step 1"),
        ("manifest:base", {"pooling": Pooling.MEAN}, "pooled by mean, .* all tokens"),
    ],
)
def test_features_that_no_manifest_reproduces_are_refused_with_the_remedy(model_type, change, message):
    trained_on = replace(TRAINED_ON, model_type=model_type, plan=replace(TRAINED_ON.plan, **change))
    with pytest.raises(TrainingError, match=f"{message}.*tamis features --model_type manifest:BACKBONE --scope whole"):
        trained_on.check()
