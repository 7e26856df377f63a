"""Camera movement made by a window that moves over larger footage, resampled alike whether it moves or rests."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from inference.train.starter.footage import Footage
from inference.types import Frames

Track = npt.NDArray[np.float64]
MOVES = ("pan", "zoom", "shake", "handheld")


@dataclass(frozen=True, slots=True)
class Path:
    """Window of every frame: shift of its centre and its scale as shares of the window, its roll in degrees."""

    across: Track
    down: Track
    scale: Track
    roll: Track


def rest(seconds: Track) -> Path:
    """A tripod: nothing moves."""
    still = np.zeros_like(seconds)
    return Path(still, still, np.ones_like(seconds), still)


def draw_path(move: str, seconds: Track, headroom: float, rng: np.random.Generator) -> Path:
    """Draw a path of kind ``move`` for frames at ``seconds``; the centre stays within ``headroom`` of the window."""
    if move == "pan":
        return _pan(seconds, headroom, rng)
    if move == "zoom":
        return _zoom(seconds, headroom, rng)
    return _shake(seconds, headroom, rng, drifts=move == "handheld")


def film(footage: Footage, path: Path, places: npt.NDArray[np.int64], window: float, size: tuple[int, int]) -> Frames:
    """Frames ``(len(places), *size, 3)`` of the footage's pictures at ``places``, seen through a moving window.

    ``window`` is the share of the largest window of that shape which fits; ``size`` is (height, width) in pixels.
    """
    height, width = size
    source_height, source_width = footage.size
    fitting = min(source_height / height, source_width / width) * window
    shrink = min(1.0, 1 / fitting)  # area-averaged first: an affine warp alone would alias
    pictures = _shrunk(footage.pictures, shrink) if shrink < 1 else footage.pictures
    step = fitting * shrink  # source pixels of one output pixel
    centre = (pictures.shape[2] / 2, pictures.shape[1] / 2)
    return np.stack(
        [
            _seen(pictures[place % len(pictures)], _matrix(path, frame, step, centre, size), size)
            for frame, place in enumerate(places)
        ]
    )


def _pan(seconds: Track, headroom: float, rng: np.random.Generator) -> Path:
    angle = rng.uniform(0, 2 * np.pi) if rng.random() < 0.4 else rng.choice([0, np.pi])
    travel = rng.uniform(0.25, 0.95) * headroom * 2
    along = np.linspace(-travel / 2, travel / 2, len(seconds))
    return Path(along * np.cos(angle), along * np.sin(angle), np.ones_like(seconds), np.zeros_like(seconds))


def _zoom(seconds: Track, headroom: float, rng: np.random.Generator) -> Path:
    end = 1 + rng.uniform(0.3, 1.0) * headroom
    scale = np.geomspace(1.0, end, len(seconds))
    still = np.zeros_like(seconds)
    return Path(still, still, scale[::-1] if rng.random() < 0.5 else scale, still)


def _shake(seconds: Track, headroom: float, rng: np.random.Generator, *, drifts: bool) -> Path:
    reach = rng.uniform(0.008, 0.03)
    across, down, roll = (_wobble(seconds, rng) for _ in range(3))
    drift = np.linspace(-0.5, 0.5, len(seconds)) * headroom * rng.uniform(0.2, 0.8) if drifts else 0.0
    limit = headroom * 0.95
    return Path(
        np.clip(across * reach + drift, -limit, limit),
        np.clip(down * reach, -limit, limit),
        np.ones_like(seconds),
        roll * rng.uniform(0.1, 1.0),
    )


def _wobble(seconds: Track, rng: np.random.Generator) -> Track:
    """Sum of three sines of 0.5 to 4 Hz, of unit amplitude together."""
    rates, phases = rng.uniform(0.5, 4, 3), rng.uniform(0, 2 * np.pi, 3)
    waves: Track = np.sin(2 * np.pi * rates[:, None] * seconds + phases[:, None]).mean(axis=0)
    return waves


def _shrunk(pictures: Frames, factor: float) -> Frames:
    return np.stack([cv2.resize(one, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA) for one in pictures])


def _matrix(
    path: Path, frame: int, step: float, centre: tuple[float, float], size: tuple[int, int]
) -> npt.NDArray[np.float64]:
    """Affine map from output pixels to source pixels."""
    height, width = size
    roll, scale = np.deg2rad(path.roll[frame]), step * path.scale[frame]
    cosine, sine = np.cos(roll) * scale, np.sin(roll) * scale
    x = centre[0] + path.across[frame] * width * step + 0.37  # off the grid: a resting window is resampled too
    y = centre[1] + path.down[frame] * height * step + 0.37
    left, top = x - cosine * width / 2 + sine * height / 2, y - sine * width / 2 - cosine * height / 2
    return np.array([[cosine, -sine, left], [sine, cosine, top]])


def _seen(picture: Frames, matrix: npt.NDArray[np.float64], size: tuple[int, int]) -> Frames:
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    seen = cv2.warpAffine(picture, matrix, size[::-1], flags=flags, borderMode=cv2.BORDER_REFLECT_101)
    return np.asarray(seen, np.uint8)
