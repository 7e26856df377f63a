"""The linear head: scikit-learn's logistic regression over a grid of weight decays, on standardised features."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss
from sklearn.preprocessing import StandardScaler
from torch import Tensor

from inference.train.data import FeatureRows, Floats, LabelledClips, Rows, class_weights
from inference.train.split import source_folds

WEIGHT_DECAYS = tuple(10.0**power for power in range(-6, 2))
MOST_ITERATIONS = 1000
POOLED_AT_ONCE = 64  # clips whose tokens are in memory together
FOLDS = 5  # of the out-of-fold probabilities


@dataclass(frozen=True, slots=True, kw_only=True)
class LinearWeights:
    """A linear layer on features as they are, not standardised: ``logits = features @ weight.T + bias``."""

    weight: Floats  # (classes, width)
    bias: Floats  # (classes,)

    def logits(self, features: FeatureRows, rows: Rows) -> Floats:
        """Return ``(rows, classes)``; of features ``(clips, tokens, width)`` by their mean."""
        return pooled(features, rows).astype(float) @ self.weight.T + self.bias

    def tensors(self) -> dict[str, Tensor]:
        """Return the weights by their names in the head's module, float32."""
        return {
            "linear.weight": torch.tensor(self.weight, dtype=torch.float32),
            "linear.bias": torch.tensor(self.bias, dtype=torch.float32),
        }

    def fields(self) -> dict[str, str | int]:
        """Return the fields of a manifest's head."""
        return {"kind": "linear"}


@dataclass(frozen=True, slots=True, kw_only=True)
class GridPoint:
    """A head of the grid: its weight decay, and its loss on the clips that it was fitted on and on those apart."""

    weight_decay: float
    fit_loss: float
    select_loss: float
    learning_rate: float | None = None  # of a head that is trained by epochs
    curve: tuple[float, ...] = ()  # its loss on the clips apart after each epoch


@dataclass(frozen=True, slots=True, kw_only=True)
class LinearFit:
    """The head with the lowest loss of a grid, fitted once more on both parts."""

    weights: LinearWeights
    chosen: GridPoint
    grid: tuple[GridPoint, ...]


def pooled(features: FeatureRows, rows: Rows) -> Floats:
    """Return ``(rows, width)``: the features, or the mean over their tokens, as the linear head takes it."""
    if len(features.shape) == 2:
        return features[rows]
    parts = [features[part].mean(axis=1) for part in np.array_split(rows, -(-len(rows) // POOLED_AT_ONCE))]
    return np.concatenate(parts)


def fit_linear(
    clips: LabelledClips,
    fit: Rows,
    select: Rows,
    *,
    weight_decays: Sequence[float] = WEIGHT_DECAYS,
    is_balanced: bool = True,
    progress: Callable[[int, int], None] | None = None,
) -> LinearFit:
    """Fit a head for each weight decay on ``fit``, choose by the loss on ``select``, fit it again on both.

    ``progress`` is told the number of heads that are fitted, and that of all.
    """
    both = np.sort(np.concatenate([fit, select]))
    features = pooled(clips.features, both)
    fit_places, select_places = np.searchsorted(both, fit), np.searchsorted(both, select)
    labels, weights = clips.labels[both], loss_weights(clips, both, is_balanced=is_balanced)
    grid = []
    for number, weight_decay in enumerate(weight_decays):
        head = fit_weights(
            features[fit_places], labels[fit_places], weights[fit_places], weight_decay, len(clips.classes)
        )
        losses = [_loss(head, features, part, labels, weights) for part in (fit_places, select_places)]
        grid.append(GridPoint(weight_decay=weight_decay, fit_loss=losses[0], select_loss=losses[1]))
        if progress is not None:
            progress(number + 1, len(weight_decays))
    best = min(grid, key=lambda point: point.select_loss)
    weights_of_all = fit_weights(features, labels, weights, best.weight_decay, len(clips.classes))
    return LinearFit(weights=weights_of_all, chosen=best, grid=tuple(grid))


def fit_weights(features: Floats, labels: Rows, weights: Floats, weight_decay: float, classes: int) -> LinearWeights:
    """Minimise the mean cross-entropy plus ``weight_decay / 2`` times the squared norm of the standardised weights."""
    scaler = StandardScaler().fit(features)
    model = LogisticRegression(C=1 / (weight_decay * weights.sum()), max_iter=MOST_ITERATIONS)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # with next to no weight decay there may be no minimum
        model.fit(scaler.transform(features), labels, sample_weight=weights)
    weight = model.coef_ / scaler.scale_
    bias = model.intercept_ - weight @ scaler.mean_
    if classes == 2:  # one logit: half of it for, and half against
        weight, bias = np.concatenate([-weight, weight]) / 2, np.concatenate([-bias, bias]) / 2
    return LinearWeights(weight=weight, bias=bias)


def out_of_fold_logits(
    clips: LabelledClips, weight_decay: float, seed: int, *, is_balanced: bool = True, folds: int = FOLDS
) -> Floats:
    """Return logits ``(clips, classes)`` of each clip by a linear head that saw no clip of its source."""
    every = np.arange(len(clips))
    features, weights = pooled(clips.features, every), loss_weights(clips, every, is_balanced=is_balanced)
    logits = np.zeros((len(clips), len(clips.classes)))
    for fit, predict in source_folds(clips, folds, seed):
        head = fit_weights(features[fit], clips.labels[fit], weights[fit], weight_decay, len(clips.classes))
        logits[predict] = head.logits(features, predict)
    return logits


def softmax(logits: Floats) -> Floats:
    """Return probabilities of logits ``(clips, classes)``."""
    shifted = np.exp(logits - logits.max(axis=1, keepdims=True))
    answer: Floats = shifted / shifted.sum(axis=1, keepdims=True)
    return answer


def loss_weights(clips: LabelledClips, rows: Rows, *, is_balanced: bool) -> Floats:
    """Return the weight of each of these clips in the loss."""
    own = clips.weights[rows]
    return class_weights(clips.labels[rows], own, len(clips.classes)) if is_balanced else own


def _loss(head: LinearWeights, features: Floats, rows: Rows, labels: Rows, weights: Floats) -> float:
    probabilities = softmax(head.logits(features, rows))
    return float(
        log_loss(labels[rows], probabilities, sample_weight=weights[rows], labels=range(probabilities.shape[1]))
    )
