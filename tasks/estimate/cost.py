"""The work of a video, predicted from its duration, pixels and codec by a few judged videos. Pure.

Decoding costs a fixed part and a part per decoded pixel, which differs by codec; judging costs a fixed part and a part
per second, because windows follow the duration.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

LEAST_OF_CODEC = 3  # judged videos of a codec before it has costs of its own
LEAST_ERROR = 0.03  # standard error of a fitted cost that fits its few videos by chance
FIT_ROUNDS = 5  # the weights stand still after two or three
ERROR_OF_FEW = 0.3  # with one or two videos the fit has no error to go by


@dataclass(frozen=True, slots=True)
class VideoSize:
    """The facts that predict a video's work. ``megapixels``: those of all its frames."""

    codec: str
    duration_seconds: float
    megapixels: float
    size_bytes: int


@dataclass(frozen=True, slots=True)
class JudgedVideo:
    """A judged video, with the seconds that decoding and the models took."""

    size: VideoSize
    decode_seconds: float
    device_seconds: float


@dataclass(frozen=True, slots=True)
class LinearCost:
    """Seconds = ``fixed`` + ``per_unit`` × units; ``error``: standard error of the logarithm of a common factor."""

    fixed: float
    per_unit: float
    error: float

    def seconds(self, units: float) -> float:
        """Return the predicted seconds."""
        return self.fixed + self.per_unit * units


@dataclass(frozen=True, slots=True)
class CostModel:
    """Costs of decoding by codec (of all codecs under ``""``), and of the models."""

    decoding: Mapping[str, LinearCost]
    device: LinearCost

    def decode_seconds(self, size: VideoSize) -> float:
        """Return the core-seconds of decoding."""
        return self._of(size.codec).seconds(size.megapixels)

    def device_seconds(self, size: VideoSize) -> float:
        """Return the seconds of the models."""
        return self.device.seconds(size.duration_seconds)

    def decode_error(self, sizes: Iterable[VideoSize]) -> float:
        """Return the error of decoding these videos: that of each codec, by its share of the work."""
        work = {size: self.decode_seconds(size) for size in sizes}
        total = sum(work.values())
        return sum(self._of(size.codec).error * seconds for size, seconds in work.items()) / total if total else 0.0

    def _of(self, codec: str) -> LinearCost:
        return self.decoding.get(codec, self.decoding[""])


def fit_costs(judged: Sequence[JudgedVideo]) -> CostModel:
    """Fit the costs to judged videos, of which there is at least one."""
    by_codec: dict[str, list[JudgedVideo]] = {}
    for one in judged:
        by_codec.setdefault(one.size.codec, []).append(one)
    common = _fit_decoding(judged)
    decoding = {"": common} | {
        codec: _fit_decoding(videos) if len(videos) >= LEAST_OF_CODEC else _scaled(common, videos)
        for codec, videos in by_codec.items()
    }
    device = _fit([one.size.duration_seconds for one in judged], [one.device_seconds for one in judged])
    return CostModel(decoding, device)


def _fit_decoding(videos: Sequence[JudgedVideo]) -> LinearCost:
    return _fit([one.size.megapixels for one in videos], [one.decode_seconds for one in videos])


def _scaled(common: LinearCost, videos: Sequence[JudgedVideo]) -> LinearCost:
    """Return the costs of a codec of few videos: those of all codecs together, times how far these differ from them."""
    predicted = sum(common.seconds(one.size.megapixels) for one in videos)
    factor = sum(one.decode_seconds for one in videos) / max(predicted, 1e-9)
    return LinearCost(common.fixed * factor, common.per_unit * factor, ERROR_OF_FEW / math.sqrt(len(videos)))


def _fit(units: Sequence[float], seconds: Sequence[float]) -> LinearCost:
    """Fit a line of which neither part is negative, so that the relative errors add up to nothing.

    The errors are relative to the prediction, in a few rounds. Relative to the measured seconds, the videos that were
    slow by chance would weigh less, and the line would be too low by twice the variance of the errors.
    """
    measured, known = np.asarray(seconds), np.asarray(units)
    fixed, per_unit = 0.0, float(measured.sum() / max(known.sum(), 1e-9))
    if len(measured) < LEAST_OF_CODEC:
        return LinearCost(fixed, per_unit, ERROR_OF_FEW)
    for _ in range(FIT_ROUNDS):
        predicted = np.maximum(fixed + per_unit * known, 1e-9)
        scaled = np.stack((1 / predicted, known / predicted), axis=1)
        fixed, per_unit = np.linalg.lstsq(scaled, measured / predicted, rcond=None)[0]
        if fixed < 0:
            fixed, per_unit = 0.0, float(np.mean(measured / np.maximum(known, 1e-9)))
        elif per_unit < 0:
            fixed, per_unit = float(measured.mean()), 0.0
    relative = measured / np.maximum(fixed + per_unit * known, 1e-9) - 1
    error = max(LEAST_ERROR, float(np.sqrt((relative**2).sum() / (len(measured) - 1) / len(measured))))
    return LinearCost(float(fixed), float(per_unit), error)


def spread(sizes: Sequence[VideoSize], count: int) -> list[int]:
    """Choose which videos to judge: every codec in turn, and of each the videos between its smallest and largest."""
    by_codec: dict[str, list[int]] = {}
    for index in sorted(range(len(sizes)), key=lambda one: sizes[one].megapixels):
        by_codec.setdefault(sizes[index].codec, []).append(index)
    orders = [_ends_first(indices) for indices in sorted(by_codec.values(), key=len, reverse=True)]
    turns = (order[turn] for turn in range(len(sizes)) for order in orders if turn < len(order))
    return [index for _, index in zip(range(count), turns, strict=False)]


def _ends_first(ordered: Sequence[int]) -> list[int]:
    """Return the last, the first, then the middles of what lies between those chosen before."""
    chosen = dict.fromkeys((ordered[-1], ordered[0]))
    parts = 2
    while len(chosen) < len(ordered):
        chosen |= dict.fromkeys(ordered[round(part * (len(ordered) - 1) / parts)] for part in range(parts + 1))
        parts *= 2
    return list(chosen)
