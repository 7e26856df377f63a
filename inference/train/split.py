"""Split by source: every clip of a source plays the same part, so that no part knows the sources of another."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import astuple, dataclass, fields

import numpy as np

from inference.errors import TrainingError
from inference.train.data import LabelledClips, Rows


@dataclass(frozen=True, slots=True, kw_only=True)
class Shares:
    """Shares of the clips for each part of a training."""

    fit: float = 0.55  # weights
    select: float = 0.15  # choice among the heads of a grid, and early stopping
    calibrate: float = 0.15  # temperature, biases and thresholds
    test: float = 0.15  # the figures of the model card

    def __post_init__(self) -> None:
        if min(astuple(self)) <= 0 or abs(sum(astuple(self)) - 1) > 1e-6:
            raise TrainingError(f"shares {astuple(self)} must be above 0 and sum to 1")


PARTS = tuple(field.name for field in fields(Shares))


@dataclass(frozen=True, slots=True, kw_only=True)
class Split:
    """Positions of the clips of each part, ascending."""

    fit: Rows
    select: Rows
    calibrate: Rows
    test: Rows

    def rows(self, part: str) -> Rows:
        """Return the clips of ``"fit"``, ``"select"``, ``"calibrate"`` or ``"test"``."""
        found: Rows = getattr(self, part)
        return found


def split_by_source(clips: LabelledClips, shares: Shares, seed: int) -> Split:
    """Deal the sources out, in an order that ``seed`` gives, so that each part gets its share of every class.

    A source goes where its classes are missing most, relative to the part's share: each part gets one source of a
    class before any part gets its second.

    Raises:
        TrainingError: a class has fewer sources than there are parts.
    """
    scarce = {name: count for name, count in clips.sources_by_class().items() if count < len(PARTS)}
    if scarce:
        listed = ", ".join(f"{name} ({count})" for name, count in scarce.items())
        raise TrainingError(
            f"labels with fewer than {len(PARTS)} sources: {listed}; each of {', '.join(PARTS)} needs a source of its "
            "own: label clips of more sources, or correct the column or rule that names a clip's source"
        )
    part_of = _deal(clips, np.array(astuple(shares)), seed)
    parts = {name: np.flatnonzero(part_of == number) for number, name in enumerate(PARTS)}
    for name, rows in parts.items():
        if len(set(clips.labels[rows])) < len(clips.classes):
            raise TrainingError(f"no split by source gives the part {name!r} clips of every label; label more sources")
    return Split(**parts)


def source_folds(clips: LabelledClips, folds: int, seed: int) -> Sequence[tuple[Rows, Rows]]:
    """Return ``folds`` pairs of rows to fit and to predict, by source, each class as evenly as possible."""
    from sklearn.model_selection import StratifiedGroupKFold

    count = min(folds, *clips.sources_by_class().values())
    splitter = StratifiedGroupKFold(count, shuffle=True, random_state=seed)
    return list(splitter.split(np.zeros(len(clips)), clips.labels, clips.sources))


def _deal(clips: LabelledClips, shares: np.ndarray[tuple[int], np.dtype[np.float64]], seed: int) -> Rows:
    sources, source_of = np.unique(clips.sources, return_inverse=True)
    counts = np.zeros((len(sources), len(clips.classes)))
    np.add.at(counts, (source_of, clips.labels), 1)
    wanted = shares[:, None] * counts.sum(axis=0)  # (parts, classes)
    held = np.zeros_like(wanted)
    order = np.random.default_rng(seed).permutation(len(sources))
    rarest_first = sorted(order, key=lambda source: -(counts[source] / counts.sum(axis=0)).sum())
    part_of_source = np.zeros(len(sources), np.int64)
    for source in rarest_first:
        has = counts[source] > 0
        lacks = ((wanted - held) / wanted)[:, has].max(axis=1)
        part = int(np.argmax(lacks))
        part_of_source[source] = part
        held[part] += counts[source]
    return part_of_source[source_of]
