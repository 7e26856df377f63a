"""Figures of a head on clips it never saw, with intervals from resampled sources.

They are scikit-learn's, computed without its checks, which take a hundred times as long as a figure of a few clips.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from scipy.stats import rankdata

from inference.train.calibration import calibration_error
from inference.train.data import Floats, LabelledClips, Rows

RESAMPLES = 300
CONFIDENCE = 0.90


@dataclass(frozen=True, slots=True, kw_only=True)
class FigureInterval:
    """A figure, and the bounds of its bootstrap interval."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.3f} [{self.low:.3f}–{self.high:.3f}]"


@dataclass(frozen=True, slots=True, kw_only=True)
class Scored:
    """Clips with probabilities and truth."""

    probabilities: Floats  # (clips, classes)
    labels: Rows
    bad_scores: Floats  # (clips,): the probability of the labels to drop
    is_bad: np.ndarray[tuple[int], np.dtype[np.bool_]]

    def rows(self, chosen: Rows) -> Scored:
        """Return these clips; one may be chosen several times."""
        return Scored(
            probabilities=self.probabilities[chosen],
            labels=self.labels[chosen],
            bad_scores=self.bad_scores[chosen],
            is_bad=self.is_bad[chosen],
        )


def auroc(one: Scored) -> float:
    """Return the probability that a bad clip scores above a good one, ties counting half (Mann and Whitney)."""
    bad = int(one.is_bad.sum())
    above = float(rankdata(one.bad_scores)[one.is_bad].sum()) - bad * (bad + 1) / 2
    return above / (bad * (len(one.is_bad) - bad))


def average_precision(one: Scored) -> float:
    """Return the mean precision over the bad clips, at the score of each."""
    order = np.argsort(-one.bad_scores, kind="stable")
    last_of_score = np.flatnonzero(np.append(np.diff(one.bad_scores[order]) != 0, [True]))
    found = np.cumsum(one.is_bad[order])[last_of_score]
    return float((found / (last_of_score + 1) * np.diff(found, prepend=0)).sum() / found[-1])


def log_loss(one: Scored) -> float:
    """Return the mean cross-entropy."""
    own = one.probabilities[np.arange(len(one.labels)), one.labels]
    return float(-np.log(own.clip(min=np.finfo(own.dtype).eps)).mean())


Figure = Callable[[Scored], float]
FIGURES: Mapping[str, Figure] = {
    "auroc": auroc,
    "average_precision": average_precision,
    "accuracy": lambda one: float((one.labels == one.probabilities.argmax(axis=1)).mean()),
    "log_loss": log_loss,
    "ece": lambda one: calibration_error(one.probabilities, one.labels),
}


def scored(clips: LabelledClips, rows: Rows, probabilities: Floats) -> Scored:
    """Join the clips at ``rows`` with their probabilities ``(rows, classes)``."""
    return Scored(
        probabilities=probabilities,
        labels=clips.labels[rows],
        bad_scores=clips.bad_scores(probabilities),
        is_bad=clips.is_bad[rows],
    )


def measure(
    clips: LabelledClips, rows: Rows, probabilities: Floats, seed: int, *, resamples: int = RESAMPLES
) -> dict[str, FigureInterval]:
    """Return each figure with its 90 % interval: sources are drawn with replacement, each with all of its clips.

    A draw without clips of both kinds is left out, as it has no ranking.
    """
    one = scored(clips, rows, probabilities)
    draws = [one.rows(chosen) for chosen in source_draws(clips.sources[rows], seed, resamples)]
    usable = [draw for draw in draws if 0 < draw.is_bad.sum() < len(draw.is_bad)] or [one]
    return {name: _interval(figure(one), [figure(draw) for draw in usable]) for name, figure in FIGURES.items()}


def source_draws(sources: np.ndarray[tuple[int], np.dtype[np.str_]], seed: int, resamples: int) -> list[Rows]:
    """Rows of ``resamples`` draws of the sources with replacement, each source with all of its rows."""
    names = np.unique(sources)
    rows_of = [np.flatnonzero(sources == name) for name in names]
    random = np.random.default_rng(seed)
    chosen = random.integers(len(names), size=(resamples, len(names)))
    return [np.concatenate([rows_of[place] for place in draw]) for draw in chosen]


def _interval(value: float, drawn: list[float]) -> FigureInterval:
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(drawn, [tail, 1 - tail])
    return FigureInterval(value=value, low=float(low), high=float(high))
