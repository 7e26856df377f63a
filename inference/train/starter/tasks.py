"""The four questions of the starter's filters, and the clips that have an answer to each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from inference.signals import NAMES
from inference.train.starter.features import ClipFeatures
from inference.train.starter.fit import Examples
from inference.train.starter.sources import Kind

EFFECTS = tuple(name for name in NAMES if name != "bits_per_pixel")  # an encode's strength says nothing of effects
CAMERA = (
    "still_points_share", "camera_speed", "stillest_quarter_speed", "camera_pan", "camera_zoom", "camera_roll",
    "camera_shake", "object_points_share", "tracked_coverage", "frozen_share", "duplicate_share", "cuts_per_minute",
)  # fmt: skip
QUALITY = (
    "blur", "sharpness", "blockiness", "noise", "contrast", "luma", "dark_share", "saturation", "bits_per_pixel",
    "still_points_share",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class FilterQuestion:
    """A filter's question: its name in the figures, its labels, and the signals that answer it (none: turned views)."""

    name: Literal["vfx", "simcam", "rov", "lowq"]
    file: str
    labels: tuple[str, str]
    inputs: tuple[str, ...]
    required: tuple[str, ...] = ()  # without these the answer is unsure
    is_experimental: bool = False  # too many false alarms on real video: the label is never given, unsure instead


QUESTIONS = (
    FilterQuestion("vfx", "vfx.json", ("VFX_video", "normal_video"), EFFECTS, is_experimental=True),
    FilterQuestion("simcam", "simcam.json", ("simcam_video", "normal_video"), CAMERA, ("camera_speed",)),
    FilterQuestion("rov", "upright.safetensors", ("rotated_video", "normal_video"), ()),
    FilterQuestion("lowq", "low_quality.json", ("low_quality_video", "normal_video"), QUALITY),
)


def answered(question: FilterQuestion, clips: ClipFeatures) -> ClipFeatures:
    """Return the clips that have an answer to the question."""
    known = [place for place, one in enumerate(clips.drawn) if _answer(question, one) is not None]
    return clips.chosen(np.array(known, np.int64))


def examples_of(question: FilterQuestion, clips: ClipFeatures) -> Examples:
    """Return clips that all have an answer, as examples to fit or to measure."""
    return Examples(
        inputs=clips.signals if question.inputs else clips.views,
        answers=np.array([bool(_answer(question, one)) for one in clips.drawn]),
        groups=clips.column("group").astype(str),
        is_real=clips.column("kind") != Kind.PHOTO,
    )


def quarter_turns(clips: ClipFeatures) -> npt.NDArray[np.int64]:
    """Anticlockwise quarter turns of every clip."""
    return clips.column("quarter_turns").astype(np.int64)


def _answer(question: FilterQuestion, drawn: object) -> bool | None:
    if not isinstance(drawn, dict):
        raise TypeError(f"a clip's draw is a mapping, not {drawn!r}")
    if question.name == "simcam":
        # An effect may move the whole picture; whether the camera moves is then no fair question.
        return None if drawn["moving"] is None or drawn["effect"] else bool(drawn["moving"])
    if question.name == "lowq":
        return None if drawn["bad_quality"] is None else bool(drawn["bad_quality"])
    if question.name == "rov":
        return bool(drawn["quarter_turns"]) if drawn["has_upright"] else None
    return drawn["effect"] is not None
