"""The thresholds at which the page's sliders start: those by which the rows were decided."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from inference.decide import Thresholds
from inference.manifest.schema import ThresholdSpec

WINDOW_SHARE = 0.3  # without a declared threshold, a video falls when this share of its windows reaches the slider


@dataclass(frozen=True, slots=True)
class StartingThreshold:
    """A declared ``max``: a video falls when more than ``share`` of its windows are above it."""

    max: float
    share: float

    @property
    def slider(self) -> float:
        """The lowest single-precision score that is above ``max``: on the page, a score that reaches it falls."""
        return float(np.nextafter(np.float32(self.max), np.float32(2)))


def starting_thresholds(decided_by: str, known: Iterable[Mapping[str, ThresholdSpec]]) -> dict[str, StartingThreshold]:
    """Return by output the thresholds of the declaration with the digest ``decided_by``; none if it is not known.

    A slider is a ``max`` on the score of everything that is not normal, so a ``min`` or a ``label`` has none.
    """
    for specs in known:
        if specs and Thresholds.of(specs).digest == decided_by:
            return {
                key: StartingThreshold(spec.max, spec.share)
                for key, spec in specs.items()
                if spec.max is not None and spec.label is None
            }
    return {}


def deciding_window(windows: int, threshold: StartingThreshold | None) -> int:
    """Return the place, by descending score, of the window that decides on a video with so many windows."""
    if threshold is None:
        return max(1, math.ceil(WINDOW_SHARE * windows)) - 1
    return min(windows - 1, math.floor(threshold.share * windows + 1e-9))
