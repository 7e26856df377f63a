"""From scores and boxes to the output's ``info`` keys. Pure: stored scores can be judged again without a GPU.

:func:`judge_video` is one video's whole way, with the decoder and the models handed in.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar

from inference.filters import Manifest, Output
from inference.types import DecodedVideo, DecodePlan, Detection, Scope, Scores, Verdict

T = TypeVar("T")

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
    is_acted_on: bool  # whether a crop may be made from them; never while the detector is untrained
    crop_url: str | None = None  # where the crop was uploaded to


class Decoder(Protocol):
    """What turns a file into frames; see :mod:`inference.decode`."""

    def decode(self, path: Path, plan: DecodePlan) -> DecodedVideo:
        """Everything the plan asks for, in one pass."""
        ...


class Scorer(Protocol):
    """What judges frames; see :class:`inference.models.scoring.Models`."""

    @property
    def digests(self) -> Mapping[str, str]:
        """Filter -> digest of its weights."""
        ...

    @property
    def untrained(self) -> frozenset[str]:
        """Filters whose weights are seeded."""
        ...

    def score(self, decoded: DecodedVideo, enabled: frozenset[str]) -> Mapping[str, Sequence[Scores]]:
        """Output key -> one score per clip."""
        ...

    def detect(self, decoded: DecodedVideo) -> list[Detection]:
        """Boxes in pixels of the source picture."""
        ...


def judge_video(path: Path, enabled: frozenset[str], manifest: Manifest, decoder: Decoder, scorer: Scorer) -> Verdict:
    """Decode once, score every clip, find boxes, and word the verdict.

    Raises:
        ManifestError: a switch is unknown, or none is on.
        BadVideo: the file is the reason.
        Transient: a model was not to be had, or (DeviceLost) the device failed.
    """
    decoded = decoder.decode(path, manifest.decode_plan(enabled))
    milliseconds = dict(decoded.milliseconds)
    scores = _timed("score", milliseconds, lambda: scorer.score(decoded, enabled))
    regions = None
    if manifest.detection(enabled) is not None:
        detections = _timed("detect", milliseconds, lambda: scorer.detect(decoded))
        regions = Regions(detections, _sampled_frames(decoded), is_acted_on=False)
    judged = manifest.enabled_filters(enabled)
    return Verdict(
        info=verdict_info(manifest.outputs(enabled), scores, regions),
        milliseconds=milliseconds,
        models={name: scorer.digests[name] for name in judged},
        is_untrained=not scorer.untrained.isdisjoint(judged),
        decoded_fraction=decoded.decoded_fraction,
    )


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


def _timed(stage: str, milliseconds: dict[str, float], work: Callable[[], T]) -> T:
    begin = time.perf_counter()
    answer = work()
    milliseconds[stage] = (time.perf_counter() - begin) * 1000
    return answer


def _sampled_frames(decoded: DecodedVideo) -> int:
    return sum(len(clip.indices) for clip in decoded.clips if clip.request.scope is Scope.SAMPLED)


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
