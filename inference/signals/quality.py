"""Sharpness, blockiness, noise and combing of frames at the source's own resolution."""

from __future__ import annotations

from collections.abc import Mapping
from math import pi, sqrt

import cv2
import numpy as np

from inference.signals.planes import Floats, Grey
from inference.signals.series import Values

BLUR_TAPS = 9
BLOCK = 8  # pixels: the transform blocks of JPEG, MPEG-2 and H.264's 8x8
_NOISE_KERNEL = np.array([[1, -2, 1], [-2, 4, -2], [1, -2, 1]], dtype=np.float32)
_MIN_SIDE = 3 * BLOCK


def quality_series(planes: Grey) -> Mapping[str, Values]:
    """Measure grey ``planes``: name -> values of shape (frames,); NaN for pictures under 24 pixels."""
    names = ("blur", "sharpness", "blockiness", "noise", "combing")
    if min(planes.shape[1:]) < _MIN_SIDE:
        return dict.fromkeys(names, np.full(len(planes), np.nan))
    measures = (blur, sharpness, blockiness, noise, combing)
    singles = [plane.astype(np.float32) for plane in planes]
    return {
        name: np.array([measure(one) for one in singles], dtype=np.float64)
        for name, measure in zip(names, measures, strict=True)
    }


def blur(plane: Floats) -> float:
    """Perceptual blur of Crete et al., "The blur effect" (2007): 0 sharp, 1 blurred.

    The share of the differences between neighbours that a blur by 9 pixels leaves; the worse of both directions.
    """
    return max(_blur_along(plane), _blur_along(np.ascontiguousarray(plane.T)))


def _blur_along(plane: Floats) -> float:
    again = np.asarray(cv2.blur(plane, (BLUR_TAPS, 1)), dtype=np.float32)
    own = np.abs(np.diff(plane, axis=1))
    lost = np.maximum(0, own - np.abs(np.diff(again, axis=1)))
    total = float(own.sum())
    return (total - float(lost.sum())) / total if total > 0 else 1.0


def sharpness(plane: Floats) -> float:
    """``log(1 + variance of the Laplacian)`` (Pech-Pacheco et al., 2000); grey levels from 0 to 255."""
    return float(np.log1p(np.asarray(cv2.Laplacian(plane, cv2.CV_32F)).var()))


def blockiness(plane: Floats) -> float:
    """Steps at every eighth pixel against all other steps, at the best of the 8 phases; the mean of both directions.

    1 without blocks. The differences across block borders are those of Wang, Sheikh and Bovik, "No-reference
    perceptual quality assessment of JPEG compressed images" (2002); all phases are tried, as crops and scaling
    move the grid.
    """
    return (_blocks_along(plane) + _blocks_along(plane.T)) / 2


def _blocks_along(plane: Floats) -> float:
    steps = np.abs(np.diff(plane, axis=1)).mean(axis=0)
    whole = steps[: len(steps) // BLOCK * BLOCK].reshape(-1, BLOCK).mean(axis=0)
    others = (whole.sum() - whole) / (BLOCK - 1)
    return float((whole + 0.1).max() / (others[whole.argmax()] + 0.1))  # 0.1 grey levels: flat pictures give 1


def noise(plane: Floats) -> float:
    """Standard deviation of noise, in grey levels, by Immerkær, "Fast noise variance estimation" (1996).

    Fine texture is taken for noise.
    """
    filtered = np.asarray(cv2.filter2D(plane, cv2.CV_32F, _NOISE_KERNEL))[1:-1, 1:-1]
    return sqrt(pi / 2) / 6 * float(np.abs(filtered).mean())


def combing(plane: Floats) -> float:
    """Difference of neighbouring lines against that of lines two apart, where these differ: above 1 in woven fields.

    As in FFmpeg's ``idet``, fields of different moments make each line unlike its neighbours and like the next but
    one. Only columns of three lines that form a comb or an edge (over 8 grey levels) count. NaN without any.
    """
    neighbours = np.abs(plane[1:-1] * 2 - plane[:-2] - plane[2:]) / 2
    apart = np.abs(plane[:-2] - plane[2:])
    counted = np.maximum(neighbours, apart) > 8
    total = float(apart[counted].sum())
    return float(neighbours[counted].sum()) / max(total, 1.0) if counted.any() else float("nan")
