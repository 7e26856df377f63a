"""Labelled clips made from footage: what is drawn for a clip, and its film. Equal seeds give equal clips.

Positives and negatives share every draw but the one that is the label: size, aspect, rate, length, codec and quality of
the encode, grain, and the resampling of the window.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np

from inference.train.starter.footage import Footage
from inference.train.starter.variants.camera import MOVES, draw_path, film, rest
from inference.train.starter.variants.effects import EFFECTS, UNSEEN, Materials
from inference.train.starter.variants.quality import DEFECTS, sensor
from inference.train.starter.variants.regions import REGIONS, Box
from inference.types import Frames

TASKS = ("camera", "quality", "effect", "turn")
SHORT_SIDES = ((240, 0.35), (360, 0.35), (480, 0.2), (720, 0.1))  # pixels -> probability
ASPECTS = ((16 / 9, 0.6), (4 / 3, 0.22), (1.0, 0.03), (9 / 16, 0.15))
RATES = (12.5, 15.0, 24.0, 25.0, 30.0)
NUISANCE = 0.1  # probability of a defect, an effect or a region in a clip that is made for another label


@dataclass(frozen=True, slots=True, kw_only=True)
class ClipPlan:
    """Everything about a clip but its footage."""

    seed: int
    move: str | None  # None: the camera as it was filmed, or at rest
    is_frozen: bool
    defect: str | None
    effect: str | None
    region: str | None
    quarter_turns: int  # anticlockwise
    size: tuple[int, int]  # (height, width) in pixels, as encoded
    fps: float
    seconds: float
    window: float  # share of the largest window that fits
    codec: str
    crf: int


def draw_plan(seed: int, footage_size: tuple[int, int], *, unseen: bool = False, task: str | None = None) -> ClipPlan:
    """Draw a clip that is made for one label, even odds for it, and by chance has another one, too."""
    rng = np.random.default_rng(seed)
    made_for = task or str(rng.choice(TASKS))
    odds = {one: 0.5 if one == made_for else NUISANCE for one in TASKS} | {"camera": 0.5}
    effects = list(EFFECTS) + (list(UNSEEN) if unseen else [])
    turns = int(rng.integers(1, 4)) if rng.random() < odds["turn"] else 0
    return ClipPlan(
        seed=seed,
        move=str(rng.choice(MOVES)) if rng.random() < odds["camera"] else None,
        is_frozen=rng.random() < 0.06,
        defect=str(rng.choice(list(DEFECTS))) if rng.random() < odds["quality"] else None,
        effect=str(rng.choice(effects)) if rng.random() < odds["effect"] else None,
        region=str(rng.choice(list(REGIONS))) if rng.random() < NUISANCE else None,
        quarter_turns=turns,
        size=_size(rng, footage_size, is_sideways=turns % 2 == 1),
        fps=float(rng.choice(RATES)),
        seconds=float(rng.uniform(1.8, 2.6)),
        window=float(rng.uniform(0.6, 0.85)),
        codec="libx264" if rng.random() < 0.85 else "mpeg4",
        crf=int(rng.integers(18, 31)),
    )


def render(plan: ClipPlan, footage: Footage, materials: Materials) -> tuple[Frames, list[Box]]:
    """Film the clip ``(N, *size, 3)``; returned with the boxes of its region as shares of the picture."""
    rng = np.random.default_rng([plan.seed, 1])
    count = max(8, round(plan.seconds * plan.fps))
    seconds = np.arange(count) / plan.fps
    upright = plan.size[::-1] if plan.quarter_turns % 2 else plan.size
    headroom = (1 / plan.window - 1) / 2
    path = draw_path(plan.move, seconds, headroom, rng) if plan.move else rest(seconds)
    places = np.zeros(count, np.int64) if plan.is_frozen and not plan.move else _shown(footage, seconds)
    frames = film(footage, path, places, plan.window, upright)
    if footage.is_photo:
        frames = sensor(frames, rng)
    if plan.is_frozen and not plan.move:
        frames = np.repeat(frames[:1], count, axis=0)
    if plan.quarter_turns:
        frames = np.rot90(frames, plan.quarter_turns, axes=(1, 2)).copy()
    boxes: list[Box] = []
    if plan.defect:
        frames = DEFECTS[plan.defect](frames, rng)
    if plan.effect:
        frames = (EFFECTS | UNSEEN)[plan.effect](frames, rng, materials)
    if plan.region:
        frames, boxes = REGIONS[plan.region](frames, rng, materials)
    return frames, boxes


def encode(frames: Frames, path: Path, *, fps: float, codec: str = "libx264", crf: int = 23) -> None:
    """Encode frames ``(N, H, W, 3)`` of even sides as an MP4."""
    with av.open(str(path), "w") as container:
        # PyAV's types cannot know that these codecs encode video.
        stream: Any = container.add_stream(codec, rate=Fraction(fps).limit_denominator(1000))
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = "yuv420p"
        if codec == "libx264":
            stream.options = {"crf": str(crf), "preset": "veryfast", "threads": "1"}
        else:
            stream.codec_context.qmin = stream.codec_context.qmax = max(2, (crf - 14) // 3)
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24")))
        container.mux(stream.encode())


def _shown(footage: Footage, seconds: np.typing.NDArray[np.float64]) -> np.typing.NDArray[np.int64]:
    """Place of the picture on screen at each of ``seconds``; a shot that is too short is played back and forth."""
    if footage.is_photo:
        return np.zeros(len(seconds), np.int64)
    count = len(footage.pictures)
    there = np.floor(seconds * footage.fps).astype(np.int64) % (2 * count)
    return np.where(there < count, there, 2 * count - 1 - there)


def _size(rng: np.random.Generator, footage_size: tuple[int, int], *, is_sideways: bool) -> tuple[int, int]:
    """Draw (height, width) in even pixels, no larger than the footage, if one of the sizes is."""
    aspect, side = _weighted(rng, ASPECTS), _weighted(rng, SHORT_SIDES)
    most = min(footage_size) * 0.75
    fitting = [one for one, _ in SHORT_SIDES if one <= most] or [SHORT_SIDES[0][0]]
    side = min(side, max(fitting))
    if is_sideways and max(footage_size) / min(footage_size) > 1.6 and side > 240:
        side = 240  # a tall window of a wide picture is narrow
    height, width = (side, side * aspect) if aspect >= 1 else (side / aspect, side)
    return 2 * round(height / 2), 2 * round(width / 2)


def _weighted(rng: np.random.Generator, choices: Sequence[tuple[float, float]]) -> float:
    values, odds = zip(*choices, strict=True)
    return float(rng.choice(values, p=odds))
