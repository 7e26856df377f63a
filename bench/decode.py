"""A single decode pass for all filters, against decoding per window and per filter.

The single pass is measured in this process, with the adapter of a decoder child. Starting a child is not measured: a
worker does it once in hundreds of videos.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from bench.clips import FPS, joined
from bench.comparison import Case, Comparison, Work
from bench.per_window import DecodedSpan, decode_spans
from inference.decode.decoders.pyav import PyAv
from inference.decode.frames.shared_frames import map_pictures
from inference.decode.one_pass import decode_once
from inference.decode.options import DecodeLimits
from inference.stills.pictures import encode_picture
from inference.stills.strip import REQUEST, SMALL_JPEG
from inference.types import Clip, ClipRequest, DecodePlan, Fit, Frames, Indices, PictureSpec, Scope, VideoProbe

SECONDS = 8  # three windows: the slowest variant then takes 15 CPU-seconds
MODEL_PICTURE = PictureSpec(256, 256)
WHOLE = ClipRequest(Scope.WHOLE, MODEL_PICTURE, 48)
WINDOWS = ClipRequest(Scope.WINDOWS, MODEL_PICTURE, 48, window_seconds=4.0, overlap_seconds=1.0)
SAMPLED = ClipRequest(Scope.SAMPLED, PictureSpec(960, 960, Fit.LETTERBOX), 64, interval_seconds=1.0)
# Requests of the production filters: three read the whole video, three its windows, the detector its samples.
READERS: Mapping[str, ClipRequest] = {
    "vfx_filter": WHOLE,
    "simcam_filter": WHOLE,
    "rotate_vertical_filter": WHOLE,
    "seg_simcam_filter": WINDOWS,
    "inverse_seg_simcam_filter": WINDOWS,
    "seg_low_quality_filter": WINDOWS,
    "abnormal_region_info": SAMPLED,
}
DISTINCT = tuple(dict.fromkeys(READERS.values()))
Decoded = Mapping[str, list[DecodedSpan]]


def one_pass(path: Path) -> Decoded:
    """Decode the file once; every reader's clips come from the same frames."""
    _, spans = decode_plan(path, DISTINCT)
    return {reader: spans[request] for reader, request in READERS.items()}


def decode_plan(path: Path, requests: Sequence[ClipRequest]) -> tuple[VideoProbe, dict[ClipRequest, list[DecodedSpan]]]:
    """Return the probe and every clip of distinct requests, from one pass."""
    plan = DecodePlan(tuple(requests))
    decoded, descriptor = decode_once(PyAv(), str(path), path.stat().st_size, plan, DecodeLimits())
    pictures = map_pictures(descriptor, decoded.layout)
    os.close(descriptor)
    spans: dict[ClipRequest, list[DecodedSpan]] = {}
    for clip in decoded.clips:
        absolute = np.rint(decoded.pts_seconds[clip.request.picture] * FPS).astype(np.int64)
        spans.setdefault(clip.request, []).append(_span(clip, absolute, pictures[clip.request.picture]))
    return decoded.probe, spans


def _span(clip: Clip, absolute: Indices, frames: Frames) -> DecodedSpan:
    return DecodedSpan(clip.start_seconds, absolute[clip.indices], frames[clip.indices])


def with_strip(path: Path) -> Decoded:
    """Do the same, and encode a strip of thumbnails from frames of that pass (``TAMIS_THUMBNAILS``)."""
    _, spans = decode_plan(path, (*DISTINCT, REQUEST))
    (strip,) = spans[REQUEST]
    encode_picture(np.concatenate(list(strip.frames), axis=1), SMALL_JPEG)
    return {reader: spans[request] for reader, request in READERS.items()}


def once_per_window(path: Path) -> Decoded:
    """Decode each window once for all filters that read it."""
    spans = {request: decode_spans(path, request) for request in DISTINCT}
    return {reader: spans[request] for reader, request in READERS.items()}


def per_filter_and_window(path: Path) -> Decoded:
    """Decode each window again for every filter that reads it."""
    return {reader: decode_spans(path, request) for reader, request in READERS.items()}


@contextmanager
def _variant(
    decode: Callable[[Path], Decoded], width: int, height: int, seconds: int, _is_short: bool
) -> Iterator[Work]:
    path = joined(width, height, seconds)
    path.read_bytes()  # puts the file into the page cache for every variant

    def work() -> Callable[[], Any]:
        return partial(answer, decode(path))

    yield work


def answer(decoded: Decoded) -> Any:
    """Return per reader and clip: start in seconds, the file's frame numbers, and a digest of every pixel."""
    return {
        reader: [
            [span.start_seconds, span.indices.tolist(), hashlib.sha256(span.frames.tobytes()).hexdigest()]
            for span in spans
        ]
        for reader, spans in decoded.items()
    }


def _one_video(_is_short: bool) -> float:
    return 1.0


def _build(width: int, height: int, seconds: int, _is_short: bool) -> None:
    joined(width, height, seconds)


def _comparison(name: str, width: int, height: int, seconds: int, *decoders: Callable[[Path], Decoded]) -> Comparison:
    return Comparison(
        name=name,
        unit="videos",
        count=_one_video,
        variants={decode.__name__: partial(_variant, decode, width, height, seconds) for decode in decoders},
        tolerance=1e-6,  # seconds at which windows start; frame numbers and pixels are compared exactly
        inputs=partial(_build, width, height, seconds),
    )


EVERY_DECODER = (per_filter_and_window, once_per_window, one_pass)
CASE = Case(
    "decode",
    (
        _comparison("decode-720p", 1280, 720, SECONDS, *EVERY_DECODER),
        _comparison("decode-1080p", 1920, 1080, SECONDS, per_filter_and_window, one_pass),
        _comparison("thumbnails-720p", 1280, 720, SECONDS, one_pass, with_strip),
    ),
    short=(
        _comparison("decode-180p", 320, 180, 5, *EVERY_DECODER),
        _comparison("thumbnails-180p", 320, 180, 5, one_pass, with_strip),
    ),
)
