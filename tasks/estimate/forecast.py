"""The time until rows are done, as a 90 % interval. Pure: it needs neither a fleet nor a table.

What is unknown is drawn many times: the mean time of a row (durations of videos have a heavy tail, of which a few rows
show little), the rows to come, and the last rows of a parallel run, whose finish is a maximum and not a mean.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

DRAWS = 1000
LOW, HIGH = 0.03, 0.97  # for 90 %: in heavy tails the studentized bootstrap covers a few percent less than it says
LEAST_ROWS = 4  # fewer say nothing about the spread
MOST_LAST_ROWS = 128  # drawn one by one: the maximum of more differs by less than the other unknowns
FARTHEST = math.log(8.0)  # of a drawn mean from the measured one, in its logarithm
SEED = 20250115  # the same input gives the same interval


@dataclass(frozen=True, slots=True)
class Bounds:
    """An estimate, and the bounds between which the truth lies in nine cases of ten."""

    low: float
    middle: float
    high: float

    def scaled(self, factor: float) -> Bounds:
        """Return the interval in another unit."""
        return Bounds(self.low * factor, self.middle * factor, self.high * factor)


@dataclass(frozen=True, slots=True)
class RowTimes:
    """Seconds of work of known rows: distinct values, each with its number of rows.

    ``factor_error`` is the standard error of the logarithm of a factor that all values share, because they were
    predicted: 0 where they were measured.
    """

    seconds: Floats = field(repr=False)
    rows: Floats = field(repr=False)
    factor_error: float = 0.0

    @classmethod
    def of(
        cls, seconds: Sequence[float], rows: Sequence[float] | None = None, *, factor_error: float = 0.0
    ) -> RowTimes:
        """Return the times of rows; ``rows`` counts the rows of each value, by default 1."""
        values = np.asarray(seconds, dtype=np.float64)
        counts = np.ones_like(values) if rows is None else np.asarray(rows, dtype=np.float64)
        return cls(values, counts, factor_error)

    @property
    def count(self) -> int:
        """The number of known rows."""
        return round(float(self.rows.sum()))

    @property
    def mean(self) -> float:
        """Their mean, in seconds."""
        return float(np.average(self.seconds, weights=self.rows))

    @property
    def variation(self) -> float:
        """The coefficient of variation: standard deviation / mean."""
        variance = np.average((self.seconds - self.mean) ** 2, weights=self.rows)
        return float(np.sqrt(variance)) / self.mean if self.mean > 0 else 0.0

    @property
    def bandwidth(self) -> float:
        """Silverman's bandwidth for a density of the logarithms: 1.06 · deviation · count^(-1/5)."""
        logs = np.log(np.maximum(self.seconds, 1e-9))
        middle = np.average(logs, weights=self.rows)
        deviation = float(np.sqrt(np.average((logs - middle) ** 2, weights=self.rows)))
        return float(1.06 * deviation * self.count**-0.2)


def work_seconds(times: RowTimes, rows: int) -> Bounds | None:
    """Return the seconds of work in ``rows`` further rows; None if fewer than :data:`LEAST_ROWS` are known."""
    if times.count < LEAST_ROWS:
        return None
    random = np.random.default_rng(SEED)
    return _interval(_work(times, rows, random))


def seconds_left(times: RowTimes, rows: int, at_once: float) -> Bounds | None:
    """Return the seconds until ``rows`` further rows are done, ``at_once`` of them at a time.

    None if fewer than :data:`LEAST_ROWS` rows are known.
    """
    if times.count < LEAST_ROWS:
        return None
    if rows == 0:
        return Bounds(0.0, 0.0, 0.0)
    random = np.random.default_rng(SEED)
    places = max(1.0, min(at_once, rows))
    work = _work(times, rows, random)
    return _interval(work / places + _tail(times, round(places), random, is_started=rows > places))


def _interval(values: Floats) -> Bounds:
    low, middle, high = np.quantile(values, (LOW, 0.5, HIGH))
    return Bounds(float(low), float(middle), float(high))


def _work(times: RowTimes, rows: int, random: np.random.Generator) -> Floats:
    """Draw the seconds of work in ``rows`` further rows."""
    variance = math.log1p(times.variation**2 / max(1, rows))
    sums = np.exp(random.standard_normal(DRAWS) * math.sqrt(variance) - variance / 2)
    prediction = np.exp(random.standard_normal(DRAWS) * times.factor_error)
    return np.asarray(rows * _means(times, random) * sums * prediction)


def _means(times: RowTimes, random: np.random.Generator) -> Floats:
    """Draw the mean of all rows: the studentized bootstrap of the logarithm of the mean.

    Against the plain bootstrap it reckons with the long tail that a sample of few rows does not show (Efron and
    Tibshirani, "An Introduction to the Bootstrap", 12.5).
    """
    count = times.count
    drawn = random.multinomial(count, times.rows / times.rows.sum(), DRAWS) / count
    means = drawn @ times.seconds
    deviations = np.sqrt(np.maximum(drawn @ times.seconds**2 - means**2, 0.0))
    error = times.variation / math.sqrt(count)
    errors = np.maximum(deviations / means / math.sqrt(count), 1e-12)
    studentized = (np.log(means) - math.log(times.mean)) / errors
    moved = np.clip(-studentized * error, -FARTHEST, FARTHEST)
    return np.asarray(times.mean * np.exp(moved))


def _tail(times: RowTimes, places: int, random: np.random.Generator, *, is_started: bool) -> Floats:
    """Draw the seconds between the mean end of ``places`` parallel rows and the last one's.

    A row that is found at work is a long one, in proportion to its length, and a random part of it is left. Rows that
    all start now are left whole.
    """
    drawn = min(places, MOST_LAST_ROWS)
    if drawn == 1:
        return np.zeros(DRAWS)
    weights = times.rows * times.seconds if is_started else times.rows
    left = random.choice(times.seconds, (DRAWS, drawn), p=weights / weights.sum())
    left = left * np.exp(random.standard_normal((DRAWS, drawn)) * times.bandwidth)  # rows longer than the known ones
    if is_started:
        left = left * random.random((DRAWS, drawn))
    return np.asarray(left.max(axis=1) - left.mean(axis=1))
