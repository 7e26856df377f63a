"""Camera motion: a similarity fitted to tracked points, apart from objects that move on their own.

Corners (Shi and Tomasi, "Good features to track", 1994) are tracked by the pyramidal method of Lucas and Kanade
(Bouguet, 2001) from one overview frame to the next, and kept where tracking back returns to the start (Kalal et al.,
"Forward-backward error", 2010). A similarity, which is pan, zoom and roll, is fitted to them by RANSAC: points that do
not follow it belong to objects.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import atan2, degrees, hypot, log
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from inference.signals.planes import Grey
from inference.signals.series import Values
from inference.types import Seconds

MAX_POINTS = 50
WINDOW = (13, 13)  # pixels around a point
PYRAMID_LEVELS = 3  # halvings: steps of up to 60 of 160 pixels are found
STOP = (cv2.TERM_CRITERIA_COUNT | cv2.TERM_CRITERIA_EPS, 10, 0.03)  # iterations, and pixels from one to the next
MIN_POINTS = 8  # a fit to fewer is left to chance
CORNER_DISTANCE_PIXELS = 5
CORNER_QUALITY = 0.01  # of the best corner's strength
MAX_RETURN_PIXELS = 0.7  # forward-backward error
MAX_RESIDUAL_PIXELS = 1.0  # of a point that follows the camera
QUARTER_POINTS = 3  # a median of fewer is left to chance
STILL_PIXELS = 0.5  # a point that moved less stood still
MIN_COVERAGE = 0.25  # of the picture: below it the points may all be on one object
MAX_STEP_SECONDS = 0.6  # frames further apart are not compared

Points = npt.NDArray[np.float32]  # shape (n, 2): x, y in pixels


@dataclass(frozen=True, slots=True)
class CameraStep:
    """The camera's movement from a frame to the next: a shift of the centre in pixels, a scale, an angle in radians."""

    right: float
    down: float
    scale: float
    angle: float

    def speed(self, width: int, height: int) -> float:
        """Root mean square of the pixels by which the picture's corners and centre move."""
        x, y = np.array([-1, -1, 1, 1, 0]) * width / 2, np.array([-1, 1, -1, 1, 0]) * height / 2
        cosine, sine = self.scale * np.cos(self.angle) - 1, self.scale * np.sin(self.angle)
        across, along = cosine * x - sine * y + self.right, sine * x + cosine * y + self.down
        return float(np.sqrt(np.mean(across**2 + along**2)))


def camera_series(planes: Grey, seconds: Seconds) -> Mapping[str, Values]:
    """Measure each step between consecutive frames: name -> values of shape (frames - 1,).

    Lengths are in units of the picture's longer side. NaN where the frames are too far apart in time, or the tracked
    points cover too little of the picture to tell the camera from an object.
    """
    steps = np.diff(seconds)
    rows = [
        _measured(planes[place], planes[place + 1], step) if step <= MAX_STEP_SECONDS else _UNKNOWN
        for place, step in enumerate(steps.tolist())
    ]
    table = np.array(rows, dtype=np.float64).reshape(-1, len(_UNKNOWN))
    right, down = table[:, -2], table[:, -1]
    shake = np.full(len(table), np.nan)
    shake[1:] = np.hypot(np.diff(right), np.diff(down))
    named = dict(zip(_MEASURED, table.T[:-2], strict=True))
    return {**named, "camera_pan": np.hypot(right, down), "camera_shake": shake}


_MEASURED = (
    "still_points_share",
    "camera_speed",
    "stillest_quarter_speed",
    "camera_zoom",
    "camera_roll",
    "object_points_share",
    "tracked_coverage",
    "tracked_points_share",
)
_UNKNOWN = (float("nan"),) * 10  # _MEASURED, then the velocity right and down


def _measured(first: npt.NDArray[np.uint8], second: npt.NDArray[np.uint8], seconds: float) -> tuple[float, ...]:
    start, end, kept = tracked(first, second)
    height, width = first.shape
    cover = coverage(start, width, height)
    fitted = fit(start, end, width, height) if cover >= MIN_COVERAGE else None
    if fitted is None:
        return (*_UNKNOWN[:6], cover, kept, *_UNKNOWN[8:])
    step, follows = fitted
    side = max(width, height)
    return (
        float(np.mean(np.hypot(*(end - start).T) < STILL_PIXELS)),
        step.speed(width, height) / side / seconds,
        stillest_quarter(start, end, width, height) / side / seconds,
        abs(log(step.scale)) / seconds,
        abs(degrees(step.angle)) / seconds,
        1 - float(np.mean(follows)),
        cover,
        kept,
        step.right / side / seconds,
        step.down / side / seconds,
    )


def tracked(first: npt.NDArray[np.uint8], second: npt.NDArray[np.uint8]) -> tuple[Points, Points, float]:
    """Return points of the first grey frame, their places in the second (n, 2), and the share of points not lost."""
    corners: Any = cv2.goodFeaturesToTrack(first, MAX_POINTS, CORNER_QUALITY, CORNER_DISTANCE_PIXELS)
    if corners is None:  # OpenCV's stubs do not say so: a picture without corners
        return np.empty((0, 2), np.float32), np.empty((0, 2), np.float32), 0.0
    start = np.asarray(corners, dtype=np.float32).reshape(-1, 1, 2)
    end, found = _followed(first, second, start)
    back, returned = _followed(second, first, end)
    error = np.abs(back - start).reshape(-1, 2).max(axis=1)
    good = found & returned & (error < MAX_RETURN_PIXELS)
    return start.reshape(-1, 2)[good], end.reshape(-1, 2)[good], float(good.mean())


def _followed(
    first: npt.NDArray[np.uint8], second: npt.NDArray[np.uint8], points: Points
) -> tuple[Points, npt.NDArray[np.bool_]]:
    found: Any = cv2.calcOpticalFlowPyrLK(
        first, second, points, np.empty_like(points), winSize=WINDOW, maxLevel=PYRAMID_LEVELS, criteria=STOP
    )
    return np.asarray(found[0], dtype=np.float32), np.asarray(found[1]).ravel() == 1


def fit(start: Points, end: Points, width: int, height: int) -> tuple[CameraStep, npt.NDArray[np.bool_]] | None:
    """Fit a similarity by RANSAC; return the step and, for each point, whether it follows. None without a fit."""
    centre = np.array([width / 2, height / 2], dtype=np.float32)
    fitted: Any = cv2.estimateAffinePartial2D(
        start - centre, end - centre, ransacReprojThreshold=MAX_RESIDUAL_PIXELS, maxIters=500
    )
    matrix, inliers = fitted
    if matrix is None:  # likewise: no agreement
        return None
    (cosine, _, right), (sine, _, down) = np.asarray(matrix, dtype=np.float64).tolist()
    scale = hypot(cosine, sine)
    if not 0.5 < scale < 2:  # in a quarter of a second: a chance agreement of few points
        return None
    return CameraStep(right, down, scale, atan2(sine, cosine)), np.asarray(inliers).ravel() == 1


def stillest_quarter(start: Points, end: Points, width: int, height: int) -> float:
    """Median shift in pixels of the points in that quarter of the picture in which they move least.

    A camera that moves, moves all quarters; an object before a resting camera seldom fills them all. NaN where no
    quarter has :data:`QUARTER_POINTS` points.
    """
    shifts = np.hypot(*(end - start).T)
    quarter = (start[:, 0] > width / 2) + 2 * (start[:, 1] > height / 2)
    own = [shifts[quarter == number] for number in range(4)]
    return min((float(np.median(one)) for one in own if len(one) >= QUARTER_POINTS), default=float("nan"))


def coverage(points: Points, width: int, height: int) -> float:
    """Share of the picture over which the points spread, 0 to 1.

    The area of the rectangle in which evenly spread points have the same deviations: σ is its side / √12.
    """
    if len(points) < MIN_POINTS:
        return 0.0
    across, down = points.std(axis=0)
    return min(1.0, 12 * float(across) * float(down) / (width * height))
