"""The choice of a clip's frames: index arithmetic over the times at which frames are presented. Pure.

Reading a clip backwards is ``indices[::-1]``; there is no function for it.
"""

from __future__ import annotations

import numpy as np

from inference.types import Indices, Seconds

_BURST_STEP_SECONDS = 0.1 + 1e-6
_DRIFT_SECONDS = 1e-6  # pts are rationals rounded to float64: 0.3 may be stored as 0.30000000000000004


def uniform(num_available: int, num_frames: int) -> Indices:
    """Spread ``num_frames`` evenly over ``num_available`` frames, both ends included, rounding down.

    Too few frames are repeated rather than refused.

    >>> uniform(10, 4).tolist()
    [0, 3, 6, 9]
    >>> uniform(3, 6).tolist()
    [0, 0, 0, 1, 1, 2]
    """
    if num_available < 1 or num_frames < 1:
        raise ValueError(f"cannot take {num_frames} of {num_available} frames: both must be at least 1")
    return np.linspace(0, num_available - 1, num_frames).astype(np.int64)


def windows(
    duration_seconds: float, window_seconds: float = 4.0, overlap_seconds: float = 1.0
) -> list[tuple[float, float]]:
    """Slide windows over a video, as (start, end) seconds; the last one is cut at the end of the video.

    Each window after the first contains time that its predecessor does not cover. There is always a first window.

    >>> windows(10)
    [(0.0, 4.0), (3.0, 7.0), (6.0, 10.0)]
    >>> windows(2)
    [(0.0, 2.0)]
    >>> len(windows(60))
    20
    """
    stride_seconds = window_seconds - overlap_seconds
    if overlap_seconds < 0 or stride_seconds <= 0:
        raise ValueError(f"windows of {window_seconds} s cannot overlap by {overlap_seconds} s: 0 <= overlap < window")
    new_seconds = max(0.0, duration_seconds - overlap_seconds - _DRIFT_SECONDS)
    count = max(1, int(np.ceil(new_seconds / stride_seconds)))
    starts = [n * stride_seconds for n in range(count)]
    return [(float(start), float(min(start + window_seconds, duration_seconds))) for start in starts]


def within(pts_seconds: Seconds, start_seconds: float, end_seconds: float) -> Indices:
    """Take every frame presented in ``[start, end)``, or the one nearest to its middle when there is none.

    >>> within(np.array([0.0, 0.5, 1.0, 1.5]), 0.5, 1.5).tolist()
    [1, 2]
    >>> within(np.array([0.0, 9.0]), 3.0, 7.0).tolist()
    [1]
    """
    first, stop = np.searchsorted(pts_seconds, (start_seconds - _DRIFT_SECONDS, end_seconds - _DRIFT_SECONDS))
    if first < stop:
        return np.arange(first, stop, dtype=np.int64)
    middle_seconds = (start_seconds + end_seconds) / 2
    return np.array([np.abs(pts_seconds - middle_seconds).argmin()], dtype=np.int64)


def window_frames(pts_seconds: Seconds, start_seconds: float, end_seconds: float, num_frames: int) -> Indices:
    """Spread ``num_frames`` evenly over the frames of a window.

    >>> window_frames(np.arange(100) / 25, 1.0, 2.0, 5).tolist()
    [25, 31, 37, 43, 49]
    """
    inside = within(pts_seconds, start_seconds, end_seconds)
    return inside[uniform(len(inside), num_frames)]


def sampled(pts_seconds: Seconds, interval_seconds: float, max_frames: int) -> Indices:
    """Take the frame on screen at 0, interval, 2 x interval, …; over ``max_frames`` the moments are thinned evenly.

    No frame is taken twice: a still shown for five seconds is one frame.

    >>> sampled(np.arange(100) / 25, 1.0, 16).tolist()
    [0, 25, 50, 75]
    >>> sampled(np.arange(100) / 25, 0.04, 3).tolist()
    [0, 49, 99]
    >>> sampled(np.array([0.0, 5.0]), 1.0, 16).tolist()
    [0, 1]
    """
    if interval_seconds <= 0:
        raise ValueError(f"interval_seconds is {interval_seconds}: it must be above 0")
    count = 1 + int(np.floor((pts_seconds[-1] + _DRIFT_SECONDS) / interval_seconds))
    chosen = uniform(count, min(count, max_frames))
    on_screen = np.searchsorted(pts_seconds, chosen * interval_seconds + _DRIFT_SECONDS, side="right") - 1
    return np.unique(np.maximum(on_screen, 0)).astype(np.int64)


def bursts(pts_seconds: Seconds, num_frames: int, interval_seconds: float) -> list[Indices]:
    """Take ``num_frames`` consecutive frames, or what the video has of them, in the middle of each interval.

    Frames that are more than a tenth of a second apart are no burst. There is always a first one, of one frame at
    least.

    >>> [run.tolist() for run in bursts(np.arange(150) / 25, 3, 3.0)]
    [[37, 38, 39], [112, 113, 114]]
    >>> [run.tolist() for run in bursts(np.arange(6) / 2, 3, 3.0)]
    [[3]]
    """
    if num_frames < 1 or interval_seconds <= 0:
        raise ValueError(f"bursts of {num_frames} frames every {interval_seconds} s: both must be above 0")
    count = max(1, int(np.ceil((pts_seconds[-1] - _DRIFT_SECONDS) / interval_seconds)))
    middles = np.minimum((np.arange(count) + 0.5) * interval_seconds, pts_seconds[-1] / 2 if count == 1 else np.inf)
    centres = np.minimum(np.searchsorted(pts_seconds, middles - _DRIFT_SECONDS), len(pts_seconds) - 1)
    return [_burst(pts_seconds, int(centre), num_frames) for centre in centres]


def _burst(pts_seconds: Seconds, centre: int, num_frames: int) -> Indices:
    first = max(0, min(centre - num_frames // 2, len(pts_seconds) - num_frames))
    chosen = np.arange(first, min(first + num_frames, len(pts_seconds)), dtype=np.int64)
    is_burst = np.all(np.diff(pts_seconds[chosen]) <= _BURST_STEP_SECONDS)
    return chosen if is_burst else np.array([centre], dtype=np.int64)


def sliding(num_available: int, num_frames: int, stride_frames: int, frame_step: int) -> list[Indices]:
    """Slide clips of every ``frame_step``-th frame over a video, ``stride_frames`` apart.

    Where frames are left behind the last whole clip, one more clip ends with the last frame. A video shorter than a
    clip is one clip that repeats its last frame.

    >>> [clip.tolist() for clip in sliding(7, 2, 3, 2)]
    [[0, 2], [3, 5], [4, 6]]
    >>> [clip.tolist() for clip in sliding(3, 5, 1, 1)]
    [[0, 1, 2, 2, 2]]
    """
    if min(num_available, num_frames, stride_frames, frame_step) < 1:
        raise ValueError(
            f"clips of {num_frames} frames, stride {stride_frames}, step {frame_step} over {num_available} frames: "
            "each must be at least 1"
        )
    offsets = np.arange(num_frames, dtype=np.int64) * frame_step
    last_start = max(0, num_available - 1 - int(offsets[-1]))
    starts = list(range(0, last_start + 1, stride_frames))
    if starts[-1] != last_start:
        starts.append(last_start)
    return [np.minimum(start + offsets, num_available - 1) for start in starts]
