"""Calibration: one temperature for all logits and a bias for each class, fitted on clips that nothing else has used.

Guo et al., "On Calibration of Modern Neural Networks" (2017), for the temperature; Alexandari et al., "Maximum
Likelihood with Bias-Corrected Calibration" (2020), for the biases, which undo what class weights do to the prior.
Both are part of a linear layer, so a calibrated head has the shape of any other.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy.optimize import minimize

from inference.train.attentive import AttentiveWeights
from inference.train.data import Floats, Rows
from inference.train.linear import LinearWeights, softmax

LOG_RANGE = (-3.0, 5.0)  # of a temperature, as clips that are told apart without error ask for one of 0
BINS = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """``logits / temperature + bias`` are calibrated."""

    temperature: float
    bias: Floats  # (classes,), of sum 0

    def probabilities(self, logits: Floats) -> Floats:
        """Return calibrated probabilities of logits ``(clips, classes)``."""
        return softmax(logits / self.temperature + self.bias)

    def folded(self, head: LinearWeights | AttentiveWeights) -> LinearWeights | AttentiveWeights:
        """Return the head whose plain softmax is calibrated: another last layer."""
        return replace(head, weight=head.weight / self.temperature, bias=head.bias / self.temperature + self.bias)


def fit_calibration(logits: Floats, labels: Rows, weights: Floats | None = None) -> Calibration:
    """Minimise the cross-entropy of ``logits`` (clips, classes) over the temperature and the biases."""
    classes = logits.shape[1]
    rows = np.arange(len(labels))
    shares = np.full(len(labels), 1 / len(labels)) if weights is None else weights / weights.sum()

    def loss(parameters: Floats) -> float:
        calibrated = logits / np.exp(parameters[0]) + parameters[1:]
        top = calibrated.max(axis=1)
        norms = top + np.log(np.exp(calibrated - top[:, None]).sum(axis=1))
        # The small penalty keeps the biases, of which one is redundant, from wandering off.
        return float(shares @ (norms - calibrated[rows, labels]) + 1e-4 * (parameters[1:] ** 2).sum())

    found = minimize(loss, np.zeros(1 + classes), method="L-BFGS-B", bounds=[LOG_RANGE, *[(-20.0, 20.0)] * classes])
    bias = found.x[1:]
    return Calibration(temperature=float(np.exp(found.x[0])), bias=bias - bias.mean())


@dataclass(frozen=True, slots=True, kw_only=True)
class ReliabilityBin:
    """Clips of neighbouring scores: their mean score, and the share that has the label."""

    clips: int
    mean_score: float
    share: float


def reliability(scores: Floats, is_true: np.ndarray[tuple[int], np.dtype[np.bool_]]) -> tuple[ReliabilityBin, ...]:
    """Return bins of equally many clips, by ascending score: bins of equal width are empty where a label is rare."""
    order = np.argsort(scores, kind="stable")
    parts = [part for part in np.array_split(order, min(BINS, len(order))) if len(part)]
    return tuple(
        ReliabilityBin(clips=len(part), mean_score=float(scores[part].mean()), share=float(is_true[part].mean()))
        for part in parts
    )


def calibration_error(probabilities: Floats, labels: Rows) -> float:
    """Return the class-wise expected calibration error: the mean over the classes of ``sum(n |score - share|) / N``.

    Nixon et al., "Measuring Calibration in Deep Learning" (2019), with bins of equally many clips.
    """
    errors = []
    for place in range(probabilities.shape[1]):
        bins = reliability(probabilities[:, place], labels == place)
        errors.append(sum(one.clips * abs(one.mean_score - one.share) for one in bins) / len(labels))
    return float(np.mean(errors))
