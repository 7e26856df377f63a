"""The frames that signals are measured on, in three views of a video.

*Overview*: the whole picture, its longer side 160 pixels, a frame each 0.25 s. *Bursts*: the same size, 6 consecutive
frames in each 4 s. *Native*: the centre of the picture, at most 320 x 320 pixels of the source's own, a frame each 3 s.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np

from inference.decode.frames.fit import placement
from inference.decode.frames.sampling import bursts, sampled
from inference.types import Clip, ClipRequest, DecodedVideo, Fit, Frames, Indices, PictureSpec, Scope, Seconds

OVERVIEW_PICTURE = PictureSpec(160, 160, Fit.LETTERBOX)
NATIVE_PICTURE = PictureSpec(320, 320, Fit.NATIVE)
OVERVIEW = ClipRequest(Scope.SAMPLED, OVERVIEW_PICTURE, 4800, interval_seconds=0.25)  # 20 minutes, then further apart
BURSTS = ClipRequest(Scope.BURSTS, OVERVIEW_PICTURE, 6, interval_seconds=4.0)
NATIVE = ClipRequest(Scope.SAMPLED, NATIVE_PICTURE, 240, interval_seconds=3.0)
REQUESTS = (OVERVIEW, BURSTS, NATIVE)


@dataclass(frozen=True, slots=True)
class View:
    """Frames (n, height, width, 3) and the seconds at which they are shown (n,)."""

    frames: Frames
    seconds: Seconds


@dataclass(frozen=True, slots=True)
class FrameViews:
    """The three views of a video whose picture is ``width`` x ``height`` pixels."""

    width: int
    height: int
    overview: View
    bursts: tuple[View, ...]
    native: View


def views_of(decoded: DecodedVideo) -> FrameViews:
    """Return the views of a video that was decoded with :data:`REQUESTS`, without padding.

    Raises:
        ValueError: it was decoded without them.
    """
    (overview,) = _views(decoded, OVERVIEW)
    (native,) = _views(decoded, NATIVE)
    return FrameViews(decoded.probe.width, decoded.probe.height, overview, _views(decoded, BURSTS), native)


def _views(decoded: DecodedVideo, request: ClipRequest) -> tuple[View, ...]:
    found = tuple(_view(decoded, clip) for clip in decoded.clips if clip.request == request)
    if not found:
        raise ValueError(f"the video was decoded without the frames of {request}; add inference.signals.REQUESTS")
    return found


def _view(decoded: DecodedVideo, clip: Clip) -> View:
    picture = decoded.pictures[clip.request.picture]
    rows, columns = content(clip.request.picture, decoded.probe.width, decoded.probe.height)
    return View(picture.frames[clip.indices][:, rows, columns], picture.pts_seconds[clip.indices])


def content(spec: PictureSpec, width: int, height: int) -> tuple[slice, slice]:
    """Rows and columns of a picture that show a source of ``width`` x ``height`` pixels; the others are padding.

    >>> content(OVERVIEW_PICTURE, 1280, 720)
    (slice(35, 125, None), slice(0, 160, None))
    """
    placed = placement(spec, width, height)
    rows = slice(max(0, placed.top), min(spec.height, placed.top + placed.height))
    columns = slice(max(0, placed.left), min(spec.width, placed.left + placed.width))
    return rows, columns


def views_of_frames(frames: Frames, seconds: Seconds) -> FrameViews:
    """Return the views of frames in memory, of shape (n, height, width, 3), shown at ``seconds`` (ascending, (n,)).

    Their size is taken for that of the source. Scaled by area, where a decode scales by libswscale.
    """
    height, width = frames.shape[1:3]
    every = sampled(seconds, OVERVIEW.interval_seconds, OVERVIEW.num_frames)
    runs = bursts(seconds, BURSTS.num_frames, BURSTS.interval_seconds)
    few = sampled(seconds, NATIVE.interval_seconds, NATIVE.num_frames)
    small, native = (placement(spec, width, height) for spec in (OVERVIEW_PICTURE, NATIVE_PICTURE))
    rows, columns = slice(max(0, -native.top), None), slice(max(0, -native.left), None)
    cut = frames[few][:, rows, columns][:, : NATIVE_PICTURE.height, : NATIVE_PICTURE.width]
    return FrameViews(
        width,
        height,
        View(_scaled(frames, every, small.width, small.height), seconds[every]),
        tuple(View(_scaled(frames, run, small.width, small.height), seconds[run]) for run in runs),
        View(cut, seconds[few]),
    )


def _scaled(frames: Frames, chosen: Indices, width: int, height: int) -> Frames:
    if frames.shape[1:3] == (height, width):
        return frames[chosen]
    return np.stack(list(_each_scaled(frames[chosen], width, height)))


def _each_scaled(frames: Frames, width: int, height: int) -> Iterator[Frames]:
    for frame in frames:
        yield np.asarray(cv2.resize(frame, (width, height), interpolation=cv2.INTER_AREA), dtype=np.uint8)
