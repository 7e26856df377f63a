"""Frames whose signals are known by construction: textures that move, blur, flicker and stand still."""

from __future__ import annotations

from functools import cache

import cv2
import numpy as np

from inference.signals import measure
from inference.types import Frames

WIDTH, HEIGHT, FPS, COUNT = 320, 180, 25, 60


@cache
def texture(width: int = 900, height: int = 500, seed: int = 0) -> Frames:
    """A colour picture with detail of several sizes, the same for the same seed."""
    random = np.random.default_rng(seed)
    layers = [
        cv2.resize(
            random.normal(0, 1, (height // cell, width // cell, 3)), (width, height), interpolation=cv2.INTER_CUBIC
        )
        for cell in (6, 20, 80)
    ]
    return np.clip(128 + 25 * sum(layers), 20, 235).astype(np.uint8)


def moving(
    pixels_per_frame: float, degrees_per_frame: float = 0.0, scale_per_frame: float = 1.0, seed: int = 0
) -> Frames:
    """A camera that pans to the right over the texture, turns and zooms: (60, 180, 320, 3)."""
    return _moving(pixels_per_frame, degrees_per_frame, scale_per_frame, seed).copy()  # tests paint on it


@cache
def _moving(pixels_per_frame: float, degrees_per_frame: float, scale_per_frame: float, seed: int) -> Frames:
    picture, centre = texture(seed=seed), (WIDTH / 2, HEIGHT / 2)
    frames = []
    for number in range(COUNT):
        matrix = cv2.getRotationMatrix2D(centre, degrees_per_frame * number, scale_per_frame**number)
        shift = np.array([[1, 0, -pixels_per_frame * number - 200], [0, 1, -150], [0, 0, 1]], dtype=np.float64)
        frames.append(cv2.warpAffine(picture, matrix @ shift, (WIDTH, HEIGHT), flags=cv2.INTER_LINEAR))
    return np.stack(frames).astype(np.uint8)


def still() -> Frames:
    """One picture shown 60 times."""
    return np.repeat(moving(0)[:1], COUNT, axis=0)


def noisy(frames: Frames, sigma: float, seed: int = 1) -> Frames:
    """The frames with white noise of ``sigma`` grey levels, another in each frame."""
    noise = np.random.default_rng(seed).normal(0, sigma, frames.shape)
    return np.clip(np.rint(frames + noise), 0, 255).astype(np.uint8)


def signals(frames: Frames, fps: float = FPS) -> dict[str, float]:
    """All signals of the frames, shown at ``fps`` frames a second."""
    return measure(frames, np.arange(len(frames)) / fps)
