"""Answers from signals: by a bound, by a combination, and unsure where neither can tell."""

from __future__ import annotations

from math import nan

import pytest
from pydantic import ValidationError

from inference.signals import NAMES
from inference.signals.rules import Combination, SignalBound

MEASURED = dict.fromkeys(NAMES, 0.5)
CAMERA = {
    "labels": ("static_video", "normal_video"),
    "inputs": ("camera_speed", "still_points_share"),
    "mean": (0.1, 0.5),
    "scale": (0.1, 0.25),
    "coefficients": (-2.0, 1.0),
    "intercept": 0.5,
    "temperature": 2.0,
    "low": 0.4,
    "high": 0.6,
    "required": ("camera_speed",),
}


def answered(rule, **values):
    found = rule.answer({**MEASURED, **values})
    return found.probability and round(found.probability, 4), found.is_unsure


@pytest.mark.parametrize(
    ("value", "expected"),
    [(0.2, (0.0013, False)), (0.36, (0.25, False)), (0.42, (0.5, True)), (0.47, (0.7141, True)), (0.48, (0.75, False))],
)
def test_a_maximum_holds_beyond_its_band_and_is_unsure_within(value, expected):
    assert answered(SignalBound("blur", None, 0.42, 0.06000001), blur=value)[1] is (0.36 <= value <= 0.48)
    assert answered(SignalBound("blur", None, 0.42, 0.06), blur=value)[0] == pytest.approx(expected[0], abs=0.02)


def test_a_minimum_holds_below_and_two_bounds_hold_outside():
    assert answered(SignalBound("luma", 0.2, None, 0.0), luma=0.1) == (1.0, False)
    assert answered(SignalBound("luma", 0.2, None, 0.0), luma=0.3) == (0.0, False)
    both = SignalBound("luma", 0.2, 0.8, 0.05)
    assert [answered(both, luma=value)[0] > 0.5 for value in (0.1, 0.5, 0.9)] == [True, False, True]


def test_a_signal_that_was_not_measured_has_no_probability():
    assert answered(SignalBound("camera_pan", None, 0.5, 0.1), camera_pan=nan) == (None, True)


def test_a_combination_is_logistic_regression_on_limited_standardised_values():
    rule = Combination(**CAMERA)
    assert answered(rule, camera_speed=0.0, still_points_share=1.0) == (0.9047, False)  # (0.5 + 2 + 2) / 2
    assert answered(rule, camera_speed=99.0, still_points_share=0.5) == (0.0086, False)  # (0.5 - 2 * 5) / 2
    assert answered(rule, camera_speed=0.12) == (0.5125, True)


def test_an_input_with_a_floor_counts_by_its_logarithm():
    rule = Combination(**CAMERA | {"log_floors": (0.01, None)})
    assert answered(rule, camera_speed=0.99, still_points_share=1.0) == (0.9047, False)  # log 1 = 0
    assert answered(rule, camera_speed=-1.0) == answered(rule, camera_speed=0.0)
    assert answered(rule, camera_speed=nan) == (None, True)
    assert rule.digest != Combination(**CAMERA).digest


def test_an_input_without_a_value_counts_as_its_mean_unless_it_is_required():
    rule = Combination(**CAMERA)
    assert answered(rule, camera_speed=0.0, still_points_share=nan) == answered(rule, camera_speed=0.0)
    assert answered(rule, camera_speed=nan) == (None, True)


def test_a_combination_survives_its_file_and_its_digest_tells_others_apart():
    rule = Combination(**CAMERA)
    again = Combination.model_validate_json(rule.model_dump_json(indent=2))
    assert (again, again.digest) == (rule, rule.digest)
    assert rule.model_copy(update={"intercept": 0.6}).digest != rule.digest


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"inputs": ("camera_speed", "speed")}, "inputs speed are no signals"),
        ({"mean": (0.1,)}, "must be of one length"),
        ({"scale": (0.1, 0.0)}, "greater than 0"),
        ({"low": 0.7}, "low = 0.7 is above high = 0.6"),
        ({"required": ("blur",)}, "required blur are not among the inputs"),
        ({"format": "tamis-signals-2"}, "tamis-signals-1"),
        ({"intercept": nan}, "finite number"),
    ],
)
def test_a_wrong_combination_is_refused_by_name(change, message):
    with pytest.raises(ValidationError, match=message):
        Combination(**{**CAMERA, **change})
