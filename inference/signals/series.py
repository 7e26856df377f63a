"""Values over time, and their reduction to one number."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from inference.types import Seconds

Values = Seconds  # float64, shape (n,); NaN: not measurable at that moment
Reducer = Callable[[Values], float]
MIN_MEASURED = 0.5  # share of the moments without which a signal is not measured


@dataclass(frozen=True, slots=True)
class Series:
    """A value at each of some moments, both of shape (n,)."""

    seconds: Seconds
    values: Values

    def between(self, start_seconds: float, end_seconds: float) -> Values:
        """Return the values of the moments in ``[start, end)``."""
        first, stop = np.searchsorted(self.seconds, (start_seconds, end_seconds))
        return self.values[first:stop]


def reduced(reducer: Reducer, values: Values) -> float:
    """Reduce the measured values to one; NaN when fewer than half of them, or none, are measured."""
    known = values[~np.isnan(values)]
    if not len(known) or len(known) < MIN_MEASURED * len(values):
        return float("nan")
    return float(reducer(known))


def mean(values: Values) -> float:
    """Return the mean."""
    return float(values.mean())


def median(values: Values) -> float:
    """Return the median."""
    return float(np.median(values))


def upper_quartile(values: Values) -> float:
    """Return the value that a quarter of the moments exceed."""
    return float(np.quantile(values, 0.75))
