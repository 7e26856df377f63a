"""The output's ``info`` keys, from scores and boxes. Pure: stored scores can be judged again without a GPU."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import astuple, dataclass, replace
from math import isnan
from typing import Any

from inference.manifest import Output
from inference.region import CropDecision, Region
from inference.signals.rules import UNSURE
from inference.types import Detection, EncodedCrop, Scores, Verdict, VideoProbe

DIGITS = 6  # of a probability
PIXEL_DIGITS = 2
SECOND_DIGITS = 3
REGION_KEY = "abnormal_region_info"
CROP_KEY = "abnormal_region_crop"
SIGNALS_KEY = "signals"
SIGNAL_DIGITS = 6  # significant ones


@dataclass(frozen=True, slots=True)
class Regions:
    """Boxes that the detector found in a video, and the decision about a crop."""

    detections: Sequence[Detection]
    frame_seconds: Sequence[float]  # times of the inspected frames
    decision: CropDecision


def verdict_info(
    outputs: Iterable[Output], scores: Mapping[str, Sequence[Scores]], regions: Regions | None = None
) -> dict[str, Any]:
    """Build the output's ``info`` keys: an entry per output, and unless ``regions`` is None the two of the regions.

    The crop's entry stays null until the crop is stored: :func:`with_crop`.

    An entry is a verdict, or for a segmented output one window under each of ``"0"``, ``"1"``, …, whose verdict stands
    under the filter's own name.

    Raises:
        KeyError: an output has no scores.
    """
    verdicts = {output.key: _entry(output, scores[output.key]) for output in outputs}
    return verdicts if regions is None else verdicts | _region_entries(regions)


def signals_info(
    whole: Mapping[str, float], windows: Mapping[tuple[float, float], Mapping[str, float]]
) -> dict[str, Any]:
    """Build the ``signals`` key of ``info``: the values of the whole video, and of windows (start, end) if any.

    Null stands for a signal that could not be measured.
    """
    spans = [
        {"duration": [_seconds(start), _seconds(end)], **_measured(values)} for (start, end), values in windows.items()
    ]
    return {SIGNALS_KEY: {"whole": _measured(whole), **({"windows": spans} if spans else {})}}


def _measured(values: Mapping[str, float]) -> dict[str, float | None]:
    return {name: None if isnan(value) else float(f"{value:.{SIGNAL_DIGITS}g}") for name, value in values.items()}


def video_facts(probe: VideoProbe | None) -> dict[str, Any]:
    """Build ``result_info.video``: container, codec, size after rotation, fields, frames, rate, duration and bytes."""
    if probe is None:
        return {}
    seconds = probe.duration_seconds
    return {
        "container": probe.container,
        "codec": probe.codec,
        "width": probe.width,
        "height": probe.height,
        "rotation_degrees": probe.rotation_degrees,
        "interlaced": probe.is_interlaced,
        "frames": probe.frame_count,
        "fps": round(probe.frame_count / seconds, SECOND_DIGITS) if seconds else None,
        "duration_seconds": _seconds(seconds),
        "size_bytes": probe.size_bytes,
    }


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


def classify(probabilities: Mapping[str, float], *, is_unsure: bool = False) -> dict[str, Any]:
    """Return ``{"result": {label: prob}, "label", "prob"}`` with the most probable label; the first of equals wins.

    An unsure verdict has the label ``unsure``, and as ``prob`` the highest probability, null without any.
    """
    result = rounded(probabilities)
    best = max(probabilities, key=lambda name: probabilities[name], default=None)
    label = UNSURE if is_unsure or best is None else best
    return {"result": result, "label": label, "prob": None if best is None else result[best]}


def rounded(probabilities: Mapping[str, float]) -> dict[str, float]:
    """Round probabilities to the digits that are written."""
    return {name: round(float(value), DIGITS) for name, value in probabilities.items()}


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
        return classify(whole.probabilities, is_unsure=whole.is_unsure)
    return {str(place): _segment(output.verdict_key, one) for place, one in enumerate(scores)}


def _segment(key: str, one: Scores) -> dict[str, Any]:
    verdict = classify(one.probabilities, is_unsure=one.is_unsure)
    return {"duration": [_seconds(one.start_seconds), _seconds(one.end_seconds)], key: verdict}


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
