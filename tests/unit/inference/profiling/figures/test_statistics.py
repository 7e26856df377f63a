"""Percentiles have sample floors, spreads have words, and an interval needs repeats."""

from __future__ import annotations

import pytest

from inference.profiling.figures.statistics import distribution, interval, sample_floor, stability_word


@pytest.mark.parametrize(("quantile", "floor"), [(0.9, 64), (0.99, 662)])
def test_the_floor_of_a_percentile_is_mlperfs(quantile: float, floor: int) -> None:
    assert sample_floor(quantile) == floor


def test_a_percentile_is_given_from_its_floor_on() -> None:
    values = [float(value) for value in range(662)]
    assert distribution(values).p99 == pytest.approx(654.39)
    assert distribution(values[:-1]).p99 is None
    few = distribution(values[:10])
    assert (few.p50, few.p95, few.p99) == (None, None, None)
    assert distribution(values[:11]).p50 == 5


def test_a_spread_is_a_coefficient_and_a_word() -> None:
    assert distribution([1.0]).stability == "unknown"
    assert distribution([10.0, 10.1, 9.9]).stability == "excellent"
    assert [stability_word(one) for one in (0.07, 0.15, 0.5)] == ["good", "fair", "unstable: investigate"]


def test_the_interval_over_repeats_is_students() -> None:
    assert interval([1.0]) is None
    found = interval([9.0, 10.0, 11.0])
    assert found is not None
    assert (found.mean, found.repeats) == (10.0, 3)
    assert found.half_width == pytest.approx(2.484, abs=0.001)  # 4.303 x 1 / sqrt(3)
