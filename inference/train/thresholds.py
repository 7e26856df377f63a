"""A threshold by target: the lowest ``max`` that loses at most so many good clips, with a bound on what it loses.

The bound is that of Clopper and Pearson (Biometrika 26, 1934) for as many clips as the good ones are worth: clips of
one source resemble each other, so they count for less than clips of as many sources (Korn and Graubard, "Confidence
intervals for proportions with small expected number of positive counts estimated from survey data", 1998).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import floor, log

import numpy as np
from scipy.stats import beta

from inference.train.data import Floats

CONFIDENCE = 0.95
TABLE_LOSSES = (0.001, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2)
DIGITS = 6  # of a threshold; rounded up, so that no further clip is lost


@dataclass(frozen=True, slots=True, kw_only=True)
class LossThreshold:
    """A ``max``: clips with a higher score are dropped."""

    max: float
    max_loss: float  # the share of good clips that was asked for at most
    lost: int  # good clips that it drops
    good: int  # good clips that it was chosen on
    bound: float  # upper limit of the share of good clips that it loses, at 95 % confidence
    caught: float  # share of the bad clips that it drops


@dataclass(frozen=True, slots=True, kw_only=True)
class Unreachable:
    """A target for which there are too few good clips."""

    max_loss: float
    good: int
    effective: float  # clips of as many sources that the good clips are worth
    best: float  # the lowest share that could be asked for
    needed: int  # such clips that the target asks for

    def __str__(self) -> str:
        return (
            f"at most {self.max_loss:.1%} of good clips lost cannot be promised from {self.good} good clips worth "
            f"{self.effective:.0f} of separate sources: {self.needed} are needed; the best reachable is {self.best:.1%}"
        )


def effective_clips(scores: Floats, sources: Sequence[str] | np.ndarray[tuple[int], np.dtype[np.str_]]) -> float:
    """Return how many clips of separate sources the clips are worth: ``n / (1 + (m - 1) rho)``.

    ``rho`` is the intraclass correlation of the scores' ranks (analysis of variance), ``m`` the mean size of a source
    as a clip sees it: ``sum(n_i ** 2) / n`` (Kish 1965).
    """
    ranks = np.argsort(np.argsort(scores, kind="stable"), kind="stable").astype(float)
    names, source_of, sizes = np.unique(np.asarray(sources), return_inverse=True, return_counts=True)
    count, groups = len(ranks), len(names)
    if groups in {1, count}:
        return float(groups)
    means = np.bincount(source_of, weights=ranks) / sizes
    between = float((sizes * (means - ranks.mean()) ** 2).sum()) / (groups - 1)
    within = float(((ranks - means[source_of]) ** 2).sum()) / (count - groups)
    typical = (count - float((sizes**2).sum()) / count) / (groups - 1)
    total = between + (typical - 1) * within
    rho = min(1.0, max(0.0, (between - within) / total)) if total > 0 else 0.0
    return count / (1 + (float((sizes**2).sum()) / count - 1) * rho)


def upper_bound(lost: float, clips: float, confidence: float = CONFIDENCE) -> float:
    """Return the upper limit of a share of which ``lost`` of ``clips`` were seen (Clopper and Pearson)."""
    return 1.0 if lost >= clips else float(beta.ppf(confidence, lost + 1, clips - lost))


def choose_threshold(
    good_scores: Floats,
    sources: Sequence[str] | np.ndarray[tuple[int], np.dtype[np.str_]],
    bad_scores: Floats,
    max_loss: float,
    confidence: float = CONFIDENCE,
) -> LossThreshold | Unreachable:
    """Choose the lowest ``max`` for which at most ``max_loss`` of all good clips are lost, at the given confidence.

    ``good_scores`` are of clips that neither weights nor calibration were fitted on more than by a few numbers.
    """
    count = len(good_scores)
    effective = effective_clips(good_scores, sources) if count else 0.0
    share = effective / count if count else 1.0
    bounds = [upper_bound(lost * share, effective, confidence) for lost in range(min(count, _most(count, max_loss)))]
    kept = sum(bound <= max_loss for bound in bounds)  # the bounds rise
    if not kept:
        best = upper_bound(0, effective, confidence) if count else 1.0
        needed = int(np.ceil(log(1 - confidence) / log(1 - max_loss)))
        return Unreachable(max_loss=max_loss, good=count, effective=effective, best=best, needed=needed)
    limit = round_up(float(np.sort(good_scores)[::-1][kept - 1]))
    lost = int((good_scores > limit).sum())
    return LossThreshold(
        max=limit,
        max_loss=max_loss,
        lost=lost,
        good=count,
        bound=upper_bound(lost * share, effective, confidence),
        caught=float((bad_scores > limit).mean()) if len(bad_scores) else 0.0,
    )


def round_up(score: float) -> float:
    """Round a probability up to the digits that are written."""
    return float(min(1.0, (floor(score * 10**DIGITS) + 1) / 10**DIGITS))


def _most(count: int, max_loss: float) -> int:
    """Return more losses than any threshold may have: the bound lies above the share that was seen."""
    return floor(count * max_loss) + 1
