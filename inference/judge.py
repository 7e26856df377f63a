"""From scores and boxes to the output's ``info`` keys. Pure: stored scores can be judged again without a GPU."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from inference.filters import Output
from inference.types import Detection, Scores

DIGITS = 6  # of a probability
PIXEL_DIGITS = 2
SECOND_DIGITS = 3
REGION_KEY = "abnormal_region_info"
CROP_KEY = "abnormal_region_crop"


@dataclass(frozen=True, slots=True)
class Regions:
    """What the detector said of one video."""

    detections: Sequence[Detection]
    frames: int  # that were looked at
    is_acted_on: bool  # false while the detector is untrained: its boxes are shown, and no crop is made from them
    crop_url: str | None = None  # where the crop was uploaded to


def verdict_info(
    outputs: Iterable[Output], scores: Mapping[str, Sequence[Scores]], regions: Regions | None = None
) -> dict[str, Any]:
    """The output's ``info`` keys: an entry per output, and the two of the abnormal regions unless those are None.

    An entry is one verdict, or for a segmented output one per window under ``"0"``, ``"1"``, ….

    Raises:
        KeyError: an output has no scores.
    """
    verdicts = {output.key: _entry(output, scores[output.key]) for output in outputs}
    return verdicts if regions is None else verdicts | _region_entries(regions)


def classify(probabilities: Mapping[str, float]) -> dict[str, Any]:
    """``{"result": {label: prob}, "label", "prob"}`` of the most probable label; the first of equals wins."""
    label = max(probabilities, key=lambda name: probabilities[name])
    rounded = {name: round(float(value), DIGITS) for name, value in probabilities.items()}
    return {"result": rounded, "label": label, "prob": rounded[label]}


def _region_entries(regions: Regions) -> dict[str, Any]:
    boxes = [_box(one) for one in regions.detections]
    found = {"boxes": boxes, "frames": regions.frames, "acted_on": regions.is_acted_on}
    return {REGION_KEY: found, CROP_KEY: regions.crop_url}


def _entry(output: Output, scores: Sequence[Scores]) -> dict[str, Any]:
    if not output.is_segmented:
        (whole,) = scores
        return classify(whole.probabilities)
    return {str(place): _segment(output.key, one) for place, one in enumerate(scores)}


def _segment(key: str, one: Scores) -> dict[str, Any]:
    return {"duration": [_seconds(one.start_seconds), _seconds(one.end_seconds)], key: classify(one.probabilities)}


def _box(found: Detection) -> dict[str, Any]:
    return {
        "label": found.label,
        "score": round(found.score, DIGITS),
        "box": [round(side, PIXEL_DIGITS) for side in found.box],
        "pts_seconds": _seconds(found.pts_seconds),
    }


def _seconds(value: float) -> int | float:
    rounded = round(float(value), SECOND_DIGITS)
    return int(rounded) if rounded.is_integer() else rounded
