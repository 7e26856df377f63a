"""Judge a video: decode, detect, crop, score, and convert the scores to the output's ``info`` keys.

The decoder and the models are arguments. :func:`verdict_info` is pure: it judges stored scores again without a GPU.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import astuple, dataclass, replace
from pathlib import Path
from typing import Any, Protocol, TypeVar

from inference.manifest import Manifest, Output
from inference.region import CropDecision, CropRule, NoCrop, Region, decide_crop
from inference.types import (
    ClipRequest,
    Crop,
    CroppedVideo,
    DecodedVideo,
    DecodePlan,
    Detection,
    EncodedCrop,
    Scores,
    Verdict,
)

T = TypeVar("T")

DIGITS = 6  # of a probability
PIXEL_DIGITS = 2
SECOND_DIGITS = 3
REGION_KEY = "abnormal_region_info"
CROP_KEY = "abnormal_region_crop"


@dataclass(frozen=True, slots=True)
class Regions:
    """Boxes that the detector found in a video, and the decision about a crop."""

    detections: Sequence[Detection]
    frame_seconds: Sequence[float]  # times of the inspected frames
    decision: CropDecision


class Decoder(Protocol):
    """Turns a file into frames; :class:`inference.decode.DecoderPool` is the implementation."""

    def decode(self, path: Path, plan: DecodePlan) -> DecodedVideo:
        """Decode everything that the plan requests, in one pass."""
        ...

    def crop(self, path: Path, plan: DecodePlan, crop: Crop) -> CroppedVideo:
        """Decode a part of the picture as the plan requests, and encode that part as a video."""
        ...


class Scorer(Protocol):
    """Scores frames; :class:`inference.models.scoring.Models` is the implementation."""

    @property
    def digests(self) -> Mapping[str, str]:
        """Filter -> SHA-256 (hex) of its weights."""
        ...

    @property
    def untrained(self) -> frozenset[str]:
        """Names of the filters with seeded weights."""
        ...

    def score(self, decoded: DecodedVideo, enabled: frozenset[str]) -> Mapping[str, Sequence[Scores]]:
        """Output key -> one :class:`Scores` per clip, in time order."""
        ...

    def detect(self, decoded: DecodedVideo) -> list[Detection]:
        """Boxes of abnormal regions, in pixels of the source picture."""
        ...


def judge_video(path: Path, enabled: frozenset[str], manifest: Manifest, decoder: Decoder, scorer: Scorer) -> Verdict:
    """Decode the video, detect abnormal regions, and score the crop without them, or the whole picture without a crop.

    A crop is encoded and scored in a second pass over the file. The caller closes the verdict's crop.

    Raises:
        ManifestError: a switch is unknown, or none is on.
        BadVideo: the file is the reason.
        Transient: no model became free in time, or (DeviceLost) the device failed.
    """
    plan = manifest.decode_plan(enabled)
    decoded = decoder.decode(path, plan)
    milliseconds = dict(decoded.milliseconds)
    regions, encoded = None, None
    with ExitStack() as undo:
        if (request := manifest.detection(enabled)) is not None:
            regions = _find_regions(decoded, request, manifest, scorer, milliseconds)
        if regions is not None and (crop := regions.decision.made) is not None:
            del decoded  # its frames would stay in memory beside the crop's
            cropped = decoder.crop(path, DecodePlan(tuple(one for one in plan.requests if one != request)), crop)
            decoded, encoded = cropped.decoded, undo.enter_context(closing(cropped.encoded))
            milliseconds |= decoded.milliseconds
        scores = _timed("score", milliseconds, lambda: scorer.score(decoded, enabled))
        undo.pop_all()
    judged = manifest.enabled_filters(enabled)
    return Verdict(
        info=verdict_info(manifest.outputs(enabled), scores, regions),
        milliseconds=milliseconds,
        models={name: scorer.digests[name] for name in judged},
        is_untrained=not scorer.untrained.isdisjoint(judged),
        decoded_fraction=decoded.decoded_fraction,
        crop=encoded,
    )


def verdict_info(
    outputs: Iterable[Output], scores: Mapping[str, Sequence[Scores]], regions: Regions | None = None
) -> dict[str, Any]:
    """Build the output's ``info`` keys: an entry per output, and unless ``regions`` is None the two of the regions.

    The crop's entry stays null until the crop is stored: :func:`with_crop`.

    An entry is a verdict, or for a segmented output a verdict per window under ``"0"``, ``"1"``, ….

    Raises:
        KeyError: an output has no scores.
    """
    verdicts = {output.key: _entry(output, scores[output.key]) for output in outputs}
    return verdicts if regions is None else verdicts | _region_entries(regions)


def with_crop(verdict: Verdict, encoded: EncodedCrop, url: str, milliseconds: float) -> Verdict:
    """Return the verdict with the entry of its crop, which is stored at ``url``."""
    entry = {
        "url": url,
        "rect": list(astuple(encoded.crop)),
        "frames": encoded.num_frames,
        "audio": encoded.audio,
        "size_bytes": encoded.size_bytes,
        "sha256": encoded.sha256,
    }
    return replace(
        verdict,
        info={**verdict.info, CROP_KEY: entry},
        milliseconds={**verdict.milliseconds, "upload": milliseconds},
        crop=None,
    )


def classify(probabilities: Mapping[str, float]) -> dict[str, Any]:
    """Return ``{"result": {label: prob}, "label", "prob"}`` with the most probable label; the first of equals wins."""
    label = max(probabilities, key=lambda name: probabilities[name])
    rounded = {name: round(float(value), DIGITS) for name, value in probabilities.items()}
    return {"result": rounded, "label": label, "prob": rounded[label]}


def _timed(stage: str, milliseconds: dict[str, float], work: Callable[[], T]) -> T:
    begin = time.perf_counter()
    answer = work()
    milliseconds[stage] = (time.perf_counter() - begin) * 1000
    return answer


def _find_regions(
    decoded: DecodedVideo, request: ClipRequest, manifest: Manifest, scorer: Scorer, milliseconds: dict[str, float]
) -> Regions:
    detections = _timed("detect", milliseconds, lambda: scorer.detect(decoded))
    (clip,) = (clip for clip in decoded.clips if clip.request == request)
    frame_seconds = decoded.pictures[request.picture].pts_seconds[clip.indices].tolist()
    rule, probe = _crop_rule(manifest, scorer), decoded.probe
    return Regions(
        detections, frame_seconds, decide_crop(detections, len(frame_seconds), probe.width, probe.height, rule)
    )


def _crop_rule(manifest: Manifest, scorer: Scorer) -> CropRule:
    spec = manifest.detector
    if spec is None:
        raise ValueError("a manifest without a detector has no crop rule")
    refusal = NoCrop.UNTRAINED if spec.name in scorer.untrained else None
    if spec.is_record_only:
        refusal = NoCrop.RECORD_ONLY
    return CropRule(
        min_presence=spec.min_presence,
        min_share=spec.min_crop_share,
        min_frames=spec.min_frames,
        margin=spec.crop_margin,
        refusal=refusal,
    )


def _region_entries(regions: Regions) -> dict[str, Any]:
    decision = regions.decision
    crop = decision.crop
    found = {
        "boxes": [_box(one) for one in regions.detections],
        "frames": len(regions.frame_seconds),
        "frame_seconds": [_seconds(moment) for moment in regions.frame_seconds],
        "regions": [_region(one) for one in decision.regions],
        "acted_on": decision.made is not None,
        "reason": decision.refusal,
        "crop": crop and {"rect": list(astuple(crop)), "share": round(decision.share, DIGITS)},
    }
    return {REGION_KEY: found, CROP_KEY: None}


def _region(one: Region) -> dict[str, Any]:
    return {
        "label": one.label,
        "score": round(one.score, DIGITS),
        "box": [round(side, PIXEL_DIGITS) for side in one.box],
        "presence": round(one.presence, DIGITS),
    }


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
