"""The sliders of the page start at the thresholds by which the rows were decided, and then drop the same videos."""

from __future__ import annotations

import random
from array import array

import pytest

from inference.decide import Keep, Thresholds, decide_output
from inference.manifest.schema import ThresholdSpec
from tasks.gallery.columns import Judged, row_score
from tasks.gallery.thresholds import starting_thresholds

SPECS = {
    "vfx_filter": ThresholdSpec(max=0.8),
    "seg_low_quality_filter": ThresholdSpec(max=0.5, share=0.3),
    "simcam_filter": ThresholdSpec(min=0.6, label="normal_video"),
}
DIGEST = Thresholds.of(SPECS).digest


def test_thresholds_of_the_digest_that_stands_in_the_rows_are_taken_and_no_others() -> None:
    found = starting_thresholds(DIGEST, [{"vfx_filter": ThresholdSpec(max=0.1)}, SPECS])
    assert {key: (one.max, one.share) for key, one in found.items()} == {
        "vfx_filter": (0.8, 0.0),
        "seg_low_quality_filter": (0.5, 0.3),
    }, "a slider is a max on what is not normal: a min or a label has none"
    assert starting_thresholds("other", [SPECS]) == {}


@pytest.mark.parametrize("key", ["vfx_filter", "seg_low_quality_filter"])
def test_at_its_start_a_slider_drops_what_the_decision_drops(key: str) -> None:
    threshold, draw = starting_thresholds(DIGEST, [SPECS])[key], random.Random(1)
    for _ in range(2000):
        values = [draw.randint(0, 10) / 10 for _ in range(draw.randint(1, 12) if key.startswith("seg") else 1)]
        judged = [Judged(None, None, "x", value, {"x": value, "normal": 1 - value}) for value in values]
        score = array("f", [row_score(judged, threshold)])[0]  # as the page has it
        drops = decide_output([one.probabilities for one in judged], SPECS[key]) is Keep.DROP
        assert (score >= threshold.slider) == drops, values
