"""Decoding without a shared pass: each filter opens the file for each of its windows.

To be fair to that design, every open seeks to the key frame before the window and stops at the last wanted frame, as a
``decord.VideoReader`` does, with the same scaler and the same choice of frames for a clip.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
from av.container import InputContainer
from av.video.frame import VideoFrame
from av.video.reformatter import Interpolation, VideoReformatter
from av.video.stream import VideoStream

from inference.decode.frames import sampling
from inference.decode.frames.fit import place, placement
from inference.types import ClipRequest, Frames, Indices, PictureSpec, Scope, Seconds

_INTERPOLATION = Interpolation.BILINEAR | Interpolation.ACCURATE_RND | Interpolation.BITEXACT


@dataclass(frozen=True, slots=True)
class DecodedSpan:
    """Frames of a clip, and their ``indices`` in the file's presentation order."""

    start_seconds: float
    indices: Indices
    frames: Frames


def decode_spans(path: Path, request: ClipRequest) -> list[DecodedSpan]:
    """Every clip of a request; the file is opened for each."""
    starts = [start for start, _ in _bounds(request, _timeline(path)[0])]
    return [_decode_one(path, request, number) for number in range(len(starts))]


def _decode_one(path: Path, request: ClipRequest, number: int) -> DecodedSpan:
    pts_seconds, ticks = _timeline(path)  # a reader counts the frames at each open
    start, end = _bounds(request, pts_seconds)[number]
    indices = _indices(request, pts_seconds, start, end)
    distinct, places = np.unique(indices, return_inverse=True)
    return DecodedSpan(start, indices, _read(path, ticks[distinct], request.picture)[places])


def _bounds(request: ClipRequest, pts_seconds: Seconds) -> list[tuple[float, float]]:
    duration_seconds = float(pts_seconds[-1] + np.median(np.diff(pts_seconds)))
    if request.scope is Scope.WINDOWS:
        return sampling.windows(duration_seconds, request.window_seconds, request.overlap_seconds)
    return [(0.0, duration_seconds)]


def _indices(request: ClipRequest, pts_seconds: Seconds, start: float, end: float) -> Indices:
    if request.scope is Scope.WINDOWS:
        return sampling.window_frames(pts_seconds, start, end, request.num_frames)
    if request.scope is Scope.SAMPLED:
        return sampling.sampled(pts_seconds, request.interval_seconds, request.num_frames)
    return sampling.uniform(len(pts_seconds), request.num_frames)


def _timeline(path: Path) -> tuple[Seconds, Indices]:
    with _opened(path) as (container, stream):
        ticks = np.sort(np.array([packet.pts for packet in container.demux(stream) if packet.size], dtype=np.int64))
        return (ticks - ticks[0]) * float(stream.time_base or 0), ticks


def _read(path: Path, wanted: Indices, picture: PictureSpec) -> Frames:
    """Frames (wanted, height, width, 3) at those ticks, ascending."""
    frames = np.empty((len(wanted), picture.height, picture.width, 3), np.uint8)
    row = {tick: number for number, tick in enumerate(wanted.tolist())}
    reformatter = VideoReformatter()
    with _opened(path) as (container, stream):
        container.seek(int(wanted[0]), stream=stream, backward=True)
        for frame in container.decode(stream):
            if frame.pts in row:
                _write(frame, picture, frames[row.pop(frame.pts)], reformatter)
            if not row:
                return frames
    raise ValueError(f"{path} ended before {len(row)} wanted frames")


def _write(frame: VideoFrame, picture: PictureSpec, canvas: Frames, reformatter: VideoReformatter) -> None:
    placed = placement(picture, frame.width, frame.height)
    scaled = reformatter.reformat(
        frame, width=placed.width, height=placed.height, format="rgb24", interpolation=_INTERPOLATION, threads=1
    )
    place(scaled.to_ndarray().astype(np.uint8, copy=False), placed, canvas)


@contextmanager
def _opened(path: Path) -> Iterator[tuple[InputContainer, VideoStream]]:
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        stream.codec_context.thread_count = 1
        yield container, stream
