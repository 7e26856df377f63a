"""Grey and HSV planes of RGB frames, all frames in one call of OpenCV."""

from __future__ import annotations

from itertools import pairwise

import cv2
import numpy as np
import numpy.typing as npt

from inference.types import Frames

Grey = npt.NDArray[np.uint8]  # shape (frames, height, width)
Floats = npt.NDArray[np.float32]


def grey(frames: Frames) -> Grey:
    """Luma of ITU-R BT.601, 0 to 255."""
    count, height, width, _ = frames.shape
    tall = np.ascontiguousarray(frames).reshape(count * height, width, 3)
    return np.asarray(cv2.cvtColor(tall, cv2.COLOR_RGB2GRAY), dtype=np.uint8).reshape(count, height, width)


def hsv(frames: Frames) -> Frames:
    """Hue (0 to 179), saturation and value (0 to 255) in the last axis."""
    count, height, width, _ = frames.shape
    tall = np.ascontiguousarray(frames).reshape(count * height, width, 3)
    return np.asarray(cv2.cvtColor(tall, cv2.COLOR_RGB2HSV), dtype=np.uint8).reshape(count, height, width, 3)


def mean_differences(planes: npt.NDArray[np.uint8]) -> npt.NDArray[np.float64]:
    """Mean absolute difference, 0 to 255, of each frame from the one before: shape (frames - 1,)."""
    differences = [cv2.norm(first, second, cv2.NORM_L1) for first, second in pairwise(planes)]
    scaled: npt.NDArray[np.float64] = np.array(differences, dtype=np.float64) / max(1, planes[0].size)
    return scaled
