"""Choices of frames: so many a second, every n-th, or the first of every scene. Pure."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from inference.decode.frames.sampling import sampled
from inference.types import Frames, Indices, Seconds

CUT_THRESHOLD = 27.0  # PySceneDetect's default for its ContentDetector
THUMBNAIL_WIDTH, THUMBNAIL_HEIGHT = 64, 36  # pixels, of the pictures that are compared


@dataclass(frozen=True, slots=True, kw_only=True)
class StillChoice:
    """The frames to write: exactly one of the three is given."""

    frames_per_second: float | None = None
    every: int | None = None
    is_by_scene: bool = False

    def __post_init__(self) -> None:
        given = [self.frames_per_second is not None, self.every is not None, self.is_by_scene]
        if sum(given) != 1:
            raise ValueError("give one of --fps, --every and --scene")


def chosen_frames(choice: StillChoice, pts_seconds: Seconds) -> Indices:
    """Return the positions of the frames by rate or number; a frame on screen at two moments is taken once.

    >>> chosen_frames(StillChoice(frames_per_second=2), np.arange(50) / 25).tolist()
    [0, 12, 25, 37]
    >>> chosen_frames(StillChoice(every=20), np.arange(50) / 25).tolist()
    [0, 20, 40]
    """
    if choice.frames_per_second is not None:
        return sampled(pts_seconds, 1 / choice.frames_per_second, len(pts_seconds) + 1)
    return np.arange(0, len(pts_seconds), choice.every or 1, dtype=np.int64)


def change(before: Frames, after: Frames) -> float:
    """Mean absolute difference of hue, saturation and value of two thumbnails (height, width, 3), from 0 to 255.

    The content value of PySceneDetect's ContentDetector, with hues from 0 to 179 as OpenCV has them.
    """
    return float(np.abs(_hsv(after) - _hsv(before)).mean())


def _hsv(frame: Frames) -> npt.NDArray[np.float32]:
    rgb = frame.astype(np.float32)
    value, spread = rgb.max(axis=-1), np.ptp(rgb, axis=-1)
    safe = np.where(spread == 0, 1, spread)
    red, green, blue = rgb[..., 0], rgb[..., 1], rgb[..., 2]
    turn = np.where(
        value == red,
        (green - blue) / safe,
        np.where(value == green, 2 + (blue - red) / safe, 4 + (red - green) / safe),
    )
    hue = np.where(spread == 0, 0, turn % 6 * 30)
    saturation = np.where(value == 0, 0, 255 * spread / np.where(value == 0, 1, value))
    return np.stack([hue, saturation, value], axis=-1).astype(np.float32)
