"""Reading of clips in the original design: a new ``decord.VideoReader`` for each filter and each window.

Where that design leaves a choice, the cheaper one is taken: one decoding thread (a second costs a tenth more CPU),
scaling inside decord, one ``get_batch`` per clip. A reversed clip is read forwards, then reversed: for frames in
descending order, decord would seek for each of them and take six times as long.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import decord
import numpy as np
from decord import logging

from inference.types import ClipRequest, Frames, Indices, PictureSpec, Scope

logging.set_level(logging.QUIET)


@dataclass(frozen=True, slots=True)
class Span:
    """Times of a clip, and its frames as ascending numbers of the file's frames."""

    start_seconds: float
    end_seconds: float
    indices: Indices


def spans(path: Path, request: ClipRequest) -> list[Span]:
    """The clips of a request; the file is opened to read its length."""
    reader = _open(path, request.picture)
    count, fps = len(reader), reader.get_avg_fps()
    bounds = _windows(count / fps, request) if request.scope is Scope.WINDOWS else [(0.0, count / fps)]
    return [
        Span(start, end, _uniform(round(start * fps), round(end * fps), request.num_frames)) for start, end in bounds
    ]


def read(path: Path, picture: PictureSpec, span: Span, *, is_reversed: bool) -> Frames:
    """Open the file and read the clip's frames ``(T, H, W, 3)`` uint8 RGB."""
    frames: Frames = _open(path, picture).get_batch(span.indices.tolist()).asnumpy()
    return frames[::-1].copy() if is_reversed else frames


def _open(path: Path, picture: PictureSpec) -> decord.VideoReader:
    return decord.VideoReader(str(path), width=picture.width, height=picture.height, num_threads=1)


def _windows(duration_seconds: float, request: ClipRequest) -> list[tuple[float, float]]:
    return list(_slide(duration_seconds, request.window_seconds, request.overlap_seconds))


def _slide(duration_seconds: float, window_seconds: float, overlap_seconds: float) -> Iterator[tuple[float, float]]:
    start = 0.0
    while start == 0 or start + overlap_seconds < duration_seconds:
        yield start, min(start + window_seconds, duration_seconds)
        start += window_seconds - overlap_seconds


def _uniform(first: int, stop: int, num_frames: int) -> Indices:
    return first + np.linspace(0, stop - first - 1, num_frames).astype(np.int64)
