"""Changes from frame to frame: frozen pictures and cuts on the overview, duplicates and flicker on bursts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from inference.signals.planes import Grey, grey, hsv, mean_differences
from inference.signals.series import Series, Values
from inference.signals.views import View
from inference.types import Frames, Seconds

FROZEN = 0.001  # of the range: the noise tolerance of FFmpeg's freezedetect
DUPLICATE = 0.0002  # of the range: encoders code a repeated frame as unchanged; slow, dark pictures change more
CUT_CONTENT = 15.0  # PySceneDetect's AdaptiveDetector: min_content_val
CUT_RATIO = 3.0  # … adaptive_threshold
CUT_NEIGHBOURS = 2  # … window_width
LOST_POINTS = 0.1  # of the points are tracked by chance over a cut; an object that passes leaves more
KEPT_RATIO = 0.5  # of the neighbours' share: a shot in which no points can be tracked is no row of cuts
HELD_POINTS = 0.5  # of the points, which then show one scene


def frozen_series(planes: Grey) -> Values:
    """1 for each frame that differs from the one before by less than 0.1 % of the range on average, else 0.

    The measure and the tolerance of FFmpeg's filter ``freezedetect``, on the overview.
    """
    return (mean_differences(planes) < FROZEN * 255).astype(np.float64)


def content_scores(frames: Frames) -> Values:
    """Change of hue, saturation and value from each frame to the next, averaged, 0 to 255: shape (frames - 1,).

    PySceneDetect's ``ContentDetector``.
    """
    planes = hsv(frames)
    value, saturation = mean_differences(planes[..., 2]), mean_differences(planes[..., 1])
    return (_hue_differences(planes[..., 0]) + saturation + value) / 3


def _hue_differences(hue: Grey) -> Values:
    """Mean distance on the circle of 180 hues; PySceneDetect subtracts, so that red differs from red."""
    return np.array([_hue_difference(*pair) for pair in pairwise(hue)], dtype=np.float64)


def _hue_difference(first: npt.NDArray[np.uint8], second: npt.NDArray[np.uint8]) -> float:
    difference = np.abs(first.astype(np.int16) - second)
    return float(np.minimum(difference, 180 - difference).mean())


def cuts(scores: Values, tracked: Values) -> Values:
    """1 where a cut lies between two frames, else 0, from :func:`content_scores` and the shares of ``tracked`` points.

    A score of at least 15 that is three times the mean of its two neighbours on each side, as in PySceneDetect's
    ``AdaptiveDetector``: a fast pan has high scores all along, a cut has one. In frames a quarter of a second apart
    fine texture scores as high as a cut; there a cut is a step over which no points can be tracked, while they can over
    its neighbours. Where most points are tracked there is no cut.
    """
    known = np.nan_to_num(tracked)
    stands_out = scores >= CUT_RATIO * _neighbours(scores)
    loses_track = (known < LOST_POINTS) & (known < KEPT_RATIO * _neighbours(known))
    is_cut = (scores >= CUT_CONTENT) & (stands_out | loses_track) & (known < HELD_POINTS)
    return is_cut.astype(np.float64)


def _neighbours(values: Values) -> Values:
    """Mean of the two neighbours on each side, of those that there are; 0 without any."""
    padded = np.pad(values, CUT_NEIGHBOURS)
    exists = np.pad(np.ones_like(values), CUT_NEIGHBOURS)
    offsets = [place for place in range(2 * CUT_NEIGHBOURS + 1) if place != CUT_NEIGHBOURS]
    sums, counts = (sum(one[place : place + len(values)] for place in offsets) for one in (padded, exists))
    return np.asarray(sums / np.maximum(counts, 1), dtype=np.float64)


def cuts_per_minute(found: Values, seconds: Seconds) -> Values:
    """Rate of cuts in each step between the frames shown at ``seconds``."""
    return found * 60 / np.maximum(np.diff(seconds), 1e-3)


def burst_series(bursts: Sequence[View]) -> Mapping[str, Series]:
    """``duplicate_share`` and ``flicker`` of each burst of consecutive frames, at its middle; NaN for one frame."""
    moments = np.array([view.seconds.mean() for view in bursts], dtype=np.float64)
    planes = [grey(view.frames) for view in bursts]
    duplicates = np.array([_duplicate_share(one) for one in planes], dtype=np.float64)
    flickers = np.array([flicker(one.mean(axis=(1, 2))) for one in planes], dtype=np.float64)
    return {"duplicate_share": Series(moments, duplicates), "flicker": Series(moments, flickers)}


def _duplicate_share(planes: Grey) -> float:
    return float((mean_differences(planes) < DUPLICATE * 255).mean()) if len(planes) > 1 else float("nan")


def flicker(means: Values) -> float:
    """Amplitude of the brightness that alternates from frame to frame, as a share of the mean brightness.

    ``mean |y[t-1] - 2 y[t] + y[t+1]| / 4 / mean y``: a steady fade has none, an alternation of ± a has a / mean y. A
    second difference in time, as in the flicker metric of Winkler et al., 2003. NaN for fewer than three frames.
    """
    if len(means) < 3:
        return float("nan")
    return float(np.abs(np.diff(means, n=2)).mean() / 4 / max(1.0, float(means.mean())))
