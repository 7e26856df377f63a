"""Light and colour of each overview frame: exposure, contrast, saturation, black and single-colour frames."""

from __future__ import annotations

from collections.abc import Mapping

import cv2
import numpy as np

from inference.signals.planes import Grey, hsv
from inference.signals.series import Values
from inference.types import Frames

BLACK_LUMA = 32  # FFmpeg's blackdetect: pixel_black_th 0.1 of the range above black
BLACK_SHARE = 0.98  # … picture_black_ratio_th
PLAIN_DEVIATION = 3.0  # grey levels: the noise of an encoded flat field
DARK, BRIGHT = 16, 239  # beyond them a picture in video range holds no detail


def light_series(frames: Frames, planes: Grey) -> Mapping[str, Values]:
    """Measure RGB frames and their grey ``planes``: name -> values of shape (frames,)."""
    flat = planes.reshape(len(planes), -1)
    low, high = _quantiles(flat)
    saturation = hsv(frames)[..., 1].mean(axis=(1, 2))
    deviations = np.array([np.max(cv2.meanStdDev(frame)[1]) for frame in frames], dtype=np.float64)
    return {
        "luma": flat.mean(axis=1) / 255,
        "contrast": (high - low) / 255,
        "dark_share": (flat < DARK).mean(axis=1),
        "bright_share": (flat > BRIGHT).mean(axis=1),
        "saturation": saturation / 255,
        "black_share": ((flat < BLACK_LUMA).mean(axis=1) >= BLACK_SHARE).astype(np.float64),
        "plain_share": (deviations < PLAIN_DEVIATION).astype(np.float64),
    }


def _quantiles(flat: Grey) -> tuple[Values, Values]:
    """Grey levels below which 5 % and 95 % of each frame's pixels lie, by counting: sorting costs ten times as much."""
    counts = np.stack([np.bincount(one, minlength=256) for one in flat]).cumsum(axis=1)
    low, high = ((counts >= share * flat.shape[1]).argmax(axis=1).astype(np.float64) for share in (0.05, 0.95))
    return low, high
