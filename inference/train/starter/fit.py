"""Fitting of the starter's heads on features: combinations of signals, and the head that compares turned views.

Weights are fitted on training sources. Temperatures and the bands of *unsure* are chosen on predictions that are
out of fold by source, of real video and of photos apart: a threshold chosen on photos is wrong on shots.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GroupKFold

from inference.models.networks.frame_encoder import VIEWS
from inference.signals import NAMES
from inference.signals.rules import MAX_DEVIATION, Combination, scaled
from inference.train.metrics import source_draws

Floats = npt.NDArray[np.float64]
Places = npt.NDArray[np.int64]

FOLDS = 5
REAL_WEIGHT = 5.0  # of a clip of real video beside one of a photo: they are few
FALSE_ALARMS = 0.08  # of the real shots, at most, above the band; and of the positives below it
RESAMPLES = 200  # of the sources, for the edges of a band
CONFIDENCE = 0.95  # that an edge keeps the promise on other sources
ENOUGH = 12  # clips of an answer, for an edge to be chosen on them
STRENGTHS = (0.01, 0.1, 1.0, 10.0)  # inverse of the penalty, tried on the folds
LOG_FLOORS = {  # of speeds, about what tracking cannot tell from rest, in their units: see the registry
    "camera_speed": 0.003,
    "stillest_quarter_speed": 0.003,
    "camera_pan": 0.003,
    "camera_zoom": 0.003,
    "camera_roll": 0.1,
    "camera_shake": 0.003,
}
UPRIGHT_STRENGTH = 0.0003  # the same, of 1280 inputs
REAL_UPRIGHT_WEIGHT = 0.2  # of a clip of real video: few rooms, which the encoder knows again whichever way they stand


@dataclass(frozen=True, slots=True, kw_only=True)
class Examples:
    """Clips of one task: inputs, answers, the group that keeps a source together, and which are real video."""

    inputs: npt.NDArray[np.float32]  # (clips, width), or (clips, 4, width) of turned views
    answers: npt.NDArray[np.bool_]
    groups: npt.NDArray[np.str_]
    is_real: npt.NDArray[np.bool_]

    @property
    def weights(self) -> Floats:
        """Weight of each clip: real video counts more, and both answers count alike."""
        own = np.where(self.is_real, REAL_WEIGHT, 1.0)
        for answer in (True, False):
            own[self.answers == answer] /= own[self.answers == answer].sum()
        return own * len(own) / 2


def fit_combination(
    examples: Examples, labels: tuple[str, str], inputs: tuple[str, ...] = NAMES, required: tuple[str, ...] = ()
) -> Combination:
    """Fit a logistic regression on signals, speeds by their logarithm, with its temperature and its band."""
    floors = tuple(LOG_FLOORS.get(name) for name in inputs)
    chosen = [examples.inputs[:, NAMES.index(name)].tolist() for name in inputs]
    values = np.array([[scaled(one, floor) for one in column] for column, floor in zip(chosen, floors, strict=True)]).T
    mean, scale = np.nanmean(values, axis=0), np.nanstd(values, axis=0) + 1e-6
    standardised = np.nan_to_num(np.clip((values - mean) / scale, -MAX_DEVIATION, MAX_DEVIATION))
    trials = {strength: _out_of_fold(standardised, examples, strength) for strength in STRENGTHS}
    strength = min(trials, key=lambda one: _loss(trials[one], examples))
    fitted = _regression(strength).fit(standardised, examples.answers, examples.weights)
    temperature, low, high = _calibrated(trials[strength], examples)
    return Combination(
        labels=labels,
        inputs=inputs,
        mean=tuple(mean.tolist()),
        scale=tuple(scale.tolist()),
        coefficients=tuple(fitted.coef_[0].tolist()),
        log_floors=floors if any(floors) else (),
        intercept=float(fitted.intercept_[0]),
        temperature=temperature,
        low=low,
        high=high,
        required=required,
    )


@dataclass(frozen=True, slots=True)
class Upright:
    """Weights of the head "is this view upright?" ``(width,)``, the views' prior ``(4,)``, and the band of *unsure*."""

    weight: Floats
    prior: Floats
    band: tuple[float, float]


def fit_upright(examples: Examples, turns: Places) -> Upright:
    """Fit "upright?" on all four views of every clip; ``turns`` are the clips' anticlockwise quarter turns."""
    width = examples.inputs.shape[-1]
    # A clip turned by q stands upright in the view that is turned by as much the other way.
    is_upright = np.arange(VIEWS)[None, :] == (-turns % VIEWS)[:, None]
    views = examples.inputs.astype(np.float64)
    weights = np.repeat(np.where(examples.is_real, REAL_UPRIGHT_WEIGHT, 1.0), VIEWS)
    compared = np.zeros((len(views), VIEWS))
    for train, apart in GroupKFold(FOLDS).split(views, groups=examples.groups):
        chosen = np.repeat(np.isin(np.arange(len(views)), train), VIEWS)
        head = _upright_regression().fit(
            views.reshape(-1, width)[chosen], is_upright.reshape(-1)[chosen], weights[chosen]
        )
        compared[apart] = views[apart] @ head.coef_[0]
    scale, prior = _view_calibration(compared, examples)
    head = _upright_regression().fit(views.reshape(-1, width), is_upright.reshape(-1), weights)
    logits = _turned_logits(compared * scale + prior)
    return Upright(head.coef_[0] * scale, prior, _band(_sigmoid(logits), examples))


def turned_probability(head: Upright, views: npt.NDArray[np.float32]) -> Floats:
    """Probability that clips are turned, of their views ``(clips, 4, width)``."""
    return _sigmoid(_turned_logits(views.astype(np.float64) @ head.weight + head.prior))


def _regression(strength: float) -> LogisticRegression:
    return LogisticRegression(C=strength, max_iter=2000)


def _upright_regression() -> LogisticRegression:
    return LogisticRegression(C=UPRIGHT_STRENGTH, max_iter=300, class_weight="balanced")


def _out_of_fold(inputs: Floats, examples: Examples, strength: float) -> Floats:
    """Logits of every clip by a regression that saw no clip of its group."""
    logits = np.zeros(len(inputs))
    for train, apart in GroupKFold(FOLDS).split(inputs, groups=examples.groups):
        fitted = _regression(strength).fit(inputs[train], examples.answers[train], examples.weights[train])
        logits[apart] = fitted.decision_function(inputs[apart])
    return logits


def _loss(logits: Floats, examples: Examples) -> float:
    signs = np.where(examples.answers, 1.0, -1.0)
    return float(np.average(np.logaddexp(0, -signs * logits), weights=examples.weights))


def _calibrated(logits: Floats, examples: Examples) -> tuple[float, float, float]:
    """Temperature, and the band's edges, by out-of-fold logits."""
    grid = np.geomspace(0.5, 8, 60)
    temperature = float(min(grid, key=lambda one: _loss(logits / one, examples)))
    low, high = _band(_sigmoid(logits / temperature), examples)
    return temperature, low, high


def _band(scores: Floats, examples: Examples) -> tuple[float, float]:
    """Edges beyond which at most :data:`FALSE_ALARMS` are wrong, of real video and of photos, whichever is wider.

    Sources are resampled: an edge that a few of them allow by chance is none.
    """
    low, high = 0.5, 0.5
    for part in (examples.is_real, ~examples.is_real):
        good, bad = part & ~examples.answers, part & examples.answers
        if min(good.sum(), bad.sum()) >= ENOUGH:
            high = max(high, _edge(scores[good], examples.groups[good]))
            low = min(low, 1 - _edge(1 - scores[bad], examples.groups[bad]))
    return round(low, 4), round(min(high, 0.999), 4)


def _edge(scores: Floats, groups: npt.NDArray[np.str_]) -> float:
    """Score above which at most :data:`FALSE_ALARMS` of the clips lie, with :data:`CONFIDENCE` over the sources."""
    drawn = [np.quantile(scores[rows], 1 - FALSE_ALARMS) for rows in source_draws(groups, 0, RESAMPLES)]
    return float(np.quantile(drawn, CONFIDENCE))


def _view_calibration(compared: Floats, examples: Examples) -> tuple[float, Floats]:
    """Scale of the views' logits, and the prior of the first view, that fit the turned and the upright clips best."""

    def loss(parameters: Floats) -> float:
        prior = np.array([parameters[1], 0.0, 0.0, 0.0])
        logits = _turned_logits(compared * np.exp(parameters[0]) + prior)
        return _loss(logits, examples)

    found = minimize(loss, np.zeros(2), method="Nelder-Mead").x
    return float(np.exp(found[0])), np.array([found[1], 0.0, 0.0, 0.0])


def _turned_logits(views: Floats) -> Floats:
    """Log-odds that another view than the first is the upright one, of the views' logits ``(clips, 4)``."""
    others: Floats = np.logaddexp.reduce(views[:, 1:], axis=1) - views[:, 0]
    return others


def _sigmoid(logits: Floats) -> Floats:
    answer: Floats = 1 / (1 + np.exp(-np.clip(logits, -60, 60)))
    return answer
