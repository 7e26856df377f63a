"""Figures of many measurements: percentiles above their sample floor, spread, an interval over repeats. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt
from statistics import fmean, median, stdev

import numpy as np

CONFIDENCE_MISS = 0.01  # a percentile is given when it holds with 99 % confidence
# Student's t, two-sided 95 %, by degrees of freedom from 1 on (Abramowitz & Stegun, table 26.10).
STUDENT_T = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228)
NORMAL = 1.960
STABILITY = ((0.05, "excellent"), (0.10, "good"), (0.20, "fair"))  # up to this coefficient of variation


def sample_floor(quantile: float) -> int:
    """The fewest samples for which a percentile is given.

    MLPerf LoadGen's early stopping: with one sample allowed beyond it, the chance (binomial) of being wrong is 1 %.

    >>> [sample_floor(quantile) for quantile in (0.5, 0.9, 0.95, 0.99)]
    [11, 64, 130, 662]
    """
    count = 1
    while quantile**count + count * (1 - quantile) * quantile ** (count - 1) > CONFIDENCE_MISS:
        count += 1
    return count


FLOORS = {name: (share, sample_floor(share)) for name, share in {"p50": 0.5, "p95": 0.95, "p99": 0.99}.items()}


@dataclass(frozen=True, slots=True)
class Distribution:
    """Measurements in milliseconds. A percentile is None below its floor."""

    count: int
    mean: float
    p50: float | None
    p95: float | None
    p99: float | None
    variation: float | None  # coefficient of variation: standard deviation over mean; None of fewer than two

    @property
    def stability(self) -> str:
        """One word for the variation, as AIPerf words it."""
        return stability_word(self.variation)


def distribution(values: Sequence[float]) -> Distribution:
    """The distribution of at least one value."""
    percentiles = {
        name: float(np.quantile(values, share)) if len(values) >= floor else None
        for name, (share, floor) in FLOORS.items()
    }
    mean = fmean(values)
    variation = stdev(values) / mean if len(values) > 1 and mean > 0 else None
    return Distribution(len(values), mean, percentiles["p50"], percentiles["p95"], percentiles["p99"], variation)


def stability_word(variation: float | None) -> str:
    """A word for a coefficient of variation.

    >>> stability_word(0.04), stability_word(0.3)
    ('excellent', 'unstable: investigate')
    """
    if variation is None:
        return "unknown"
    return next((word for limit, word in STABILITY if variation < limit), "unstable: investigate")


@dataclass(frozen=True, slots=True)
class Interval:
    """A mean over repeats and the half width of its 95 % confidence interval."""

    mean: float
    half_width: float
    repeats: int


def interval(values: Sequence[float]) -> Interval | None:
    """Student's interval; None for fewer than two repeats, of which nothing can be said."""
    if len(values) < 2:
        return None
    freedom = len(values) - 1
    t = STUDENT_T[freedom - 1] if freedom <= len(STUDENT_T) else NORMAL * (1 + 1 / freedom)
    return Interval(fmean(values), t * stdev(values) / sqrt(len(values)), len(values))


def typical(values: Sequence[float]) -> float:
    """The median, for figures that are compared and not published; 0 of none."""
    return median(values) if values else 0.0
