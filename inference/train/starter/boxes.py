"""Boxes of the detector without weights on the corpus's clips, held to the boxes that were drawn: average precision."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from inference.signals.regions import find_regions
from inference.types import Frames

LABELS = ("border", "logo", "caption")
LABEL_OF = {"border": "border", "bars": "border", "logo": "logo", "caption": "caption"}  # of what was drawn
LEAST_OVERLAP = 0.5  # of a box found and a box drawn: intersection over union

Boxes = npt.NDArray[np.float32]  # (n, 6): place in LABELS, score, x1, y1, x2, y2 as shares of the picture


@dataclass(frozen=True, slots=True, kw_only=True)
class RegionFigures:
    """Average precision of each label at an overlap of a half; None for a label that no clip has."""

    clips: int
    average_precision: Mapping[str, float | None]

    @property
    def mean(self) -> float | None:
        """mAP50: the mean over the labels; None without any."""
        known = [one for one in self.average_precision.values() if one is not None]
        return sum(known) / len(known) if known else None

    def to_json(self) -> dict[str, Any]:
        """Return the figures as JSON values."""
        return asdict(self) | {"mean": self.mean}


def find_boxes(frames: Frames) -> Boxes:
    """Find the regions that stay on frames ``(n, height, width, 3)``."""
    height, width = frames.shape[1:3]
    found = [
        (LABELS.index(label), score, left / width, top / height, right / width, bottom / height)
        for label, score, (left, top, right, bottom) in find_regions(frames)
    ]
    return np.array(found, np.float32).reshape(-1, 6)


def measure_regions(drawn: Sequence[Mapping[str, Any]], found: Sequence[Boxes]) -> RegionFigures:
    """Compare the boxes found on each clip with what was drawn on it: ``region`` and ``boxes``."""
    true = [(LABEL_OF.get(one["region"]), one["boxes"]) for one in drawn]
    return RegionFigures(
        clips=len(drawn),
        average_precision={
            label: average_precision(
                [boxes if own == label else [] for own, boxes in true],
                [boxes[boxes[:, 0] == place] for boxes in found],
            )
            for place, label in enumerate(LABELS)
        },
    )


def average_precision(true: Sequence[Sequence[Sequence[float]]], found: Sequence[Boxes]) -> float | None:
    """Area under falling precision over recall (Everingham et al., PASCAL VOC 2010); None without true boxes.

    Boxes are matched in the order of their scores, each true one once.
    """
    total = sum(len(boxes) for boxes in true)
    if not total:
        return None
    hits = np.array([is_hit for _, is_hit in sorted(_judged(true, found), key=lambda one: -one[0])], bool)
    precision = np.cumsum(hits) / np.arange(1, len(hits) + 1)
    highest = np.maximum.accumulate(precision[::-1])[::-1]
    return float(highest[hits].sum() / total)


def _judged(true: Sequence[Sequence[Sequence[float]]], found: Sequence[Boxes]) -> Iterator[tuple[float, bool]]:
    """Yield the score of each box found, and whether it is the first to find a true one."""
    for own, boxes in zip(true, found, strict=True):
        open_boxes = list(own)
        for box in boxes[np.argsort(-boxes[:, 1], kind="stable")].tolist():
            overlaps = [overlap(one, box[2:]) for one in open_boxes]
            is_hit = max(overlaps, default=0.0) >= LEAST_OVERLAP
            if is_hit:
                open_boxes.pop(overlaps.index(max(overlaps)))
            yield box[1], is_hit


def overlap(one: Sequence[float], other: Sequence[float]) -> float:
    """Intersection over union of two boxes ``x1, y1, x2, y2``."""
    across = min(one[2], other[2]) - max(one[0], other[0])
    down = min(one[3], other[3]) - max(one[1], other[1])
    common = max(0.0, across) * max(0.0, down)
    areas = sum((box[2] - box[0]) * (box[3] - box[1]) for box in (one, other))
    return common / (areas - common) if areas > common else 0.0
