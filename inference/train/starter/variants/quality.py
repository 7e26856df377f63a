"""Defects of quality, put into the pictures before the encode that good clips share with bad ones."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np

from inference.types import Frames

Defect = Callable[[Frames, np.random.Generator], Frames]


def blurred(frames: Frames, rng: np.random.Generator) -> Frames:
    """Out of focus: a Gaussian of 0.5 to 1.4 % of the height."""
    sigma = frames.shape[1] * rng.uniform(0.005, 0.014)
    return np.stack([cv2.GaussianBlur(one, (0, 0), sigma) for one in frames])


def smeared(frames: Frames, rng: np.random.Generator) -> Frames:
    """Motion blur: a line of 2.5 to 6 % of the height, at one angle."""
    length = max(5, round(frames.shape[1] * rng.uniform(0.025, 0.06)))
    kernel = np.zeros((length, length), np.float32)
    kernel[length // 2] = 1
    turn = cv2.getRotationMatrix2D((length / 2 - 0.5, length / 2 - 0.5), float(rng.uniform(0, 180)), 1.0)
    kernel = cv2.warpAffine(kernel, turn, (length, length))
    return np.stack([cv2.filter2D(one, -1, kernel / kernel.sum()) for one in frames])


def scaled_down(frames: Frames, rng: np.random.Generator) -> Frames:
    """Recorded at a quarter to a tenth of its size and enlarged again."""
    height, width = frames.shape[1:3]
    factor = rng.uniform(4, 8)
    small = (max(8, round(width / factor)), max(8, round(height / factor)))
    way = cv2.INTER_CUBIC if rng.random() < 0.7 else cv2.INTER_NEAREST
    return np.stack(
        [
            cv2.resize(cv2.resize(one, small, interpolation=cv2.INTER_AREA), (width, height), interpolation=way)
            for one in frames
        ]
    )


def noisy(frames: Frames, rng: np.random.Generator) -> Frames:
    """Sensor noise of a dark room: a standard deviation of 14 to 35 levels, new in every frame."""
    sigma = rng.uniform(14, 35)
    noise = [_noise(frames.shape[1:], sigma, rng) for _ in range(6)]  # cycled: drawing them all is slow
    return np.stack([cv2.add(one, noise[place % 6], dtype=cv2.CV_8U) for place, one in enumerate(frames)])


def crushed(frames: Frames, rng: np.random.Generator) -> Frames:
    """Compressed too hard: every frame through JPEG at quality 3 to 11, which leaves 8 x 8 blocks."""
    options = [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(3, 12))]
    return np.stack([_through_jpeg(one, options) for one in frames])


DEFECTS: dict[str, Defect] = {
    "blur": blurred,
    "smear": smeared,
    "downscale": scaled_down,
    "noise": noisy,
    "crush": crushed,
}


def sensor(frames: Frames, rng: np.random.Generator) -> Frames:
    """The grain of any camera, 0.5 to 3 levels, without which a photo filmed at rest would be perfectly still."""
    sigma = rng.uniform(0.5, 3.0)
    noise = [_noise(frames.shape[1:], sigma, rng) for _ in range(6)]
    return np.stack([cv2.add(one, noise[place % 6], dtype=cv2.CV_8U) for place, one in enumerate(frames)])


def _through_jpeg(frame: Frames, options: list[int]) -> Frames:
    return np.asarray(cv2.imdecode(cv2.imencode(".jpg", frame, options)[1], cv2.IMREAD_COLOR), np.uint8)


def _noise(shape: tuple[int, ...], sigma: float, rng: np.random.Generator) -> np.typing.NDArray[np.int16]:
    return np.asarray(np.rint(rng.standard_normal(shape, dtype=np.float32) * sigma), np.int16)
