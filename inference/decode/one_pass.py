"""A single pass over a video: probe, check, select, decode. Runs in the decoder process."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from inference.decode.decoders.adapter import VideoDecoder
from inference.decode.decoders.pyav import timeline_by_decoding
from inference.decode.frames import shared_frames
from inference.decode.frames.selection import select
from inference.decode.frames.timeline import MiscountedFramesError, Timeline
from inference.decode.limits import check_duration, check_frames_bytes, check_pixels, check_readable
from inference.decode.options import DecodeLimits
from inference.types import Clip, DecodePlan, PictureSpec, Seconds, VideoProbe

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class PassResult:
    """A decoded video whose frames are in the memory of a file descriptor, in the order of ``pts_seconds``."""

    probe: VideoProbe
    pts_seconds: dict[PictureSpec, Seconds]
    clips: tuple[Clip, ...]
    decoded_fraction: float
    milliseconds: dict[str, float]
    decoder: str
    fallback_reason: str = ""

    @property
    def layout(self) -> shared_frames.Layout:
        """The pictures in memory, in order, with their numbers of frames."""
        return tuple((spec, len(pts)) for spec, pts in self.pts_seconds.items())


def decode_once(
    decoder: VideoDecoder, path: str, size_bytes: int, plan: DecodePlan, limits: DecodeLimits
) -> tuple[PassResult, int]:
    """Decode the frames of the plan into memory. Raises :class:`BadVideo`, MemoryError.

    The caller closes the descriptor that is returned.
    """

    def decode(timeline: Timeline) -> tuple[PassResult, int]:
        return _decode(decoder, path, size_bytes, plan, limits, timeline, time.perf_counter() - started)

    started = time.perf_counter()
    return with_timeline(decoder, path, limits, decode)


def with_timeline(decoder: VideoDecoder, path: str, limits: DecodeLimits, use: Callable[[Timeline], T]) -> T:
    """Call ``use`` with the timeline of a video; call it again with a decoded one if the packets were miscounted.

    Raises :class:`BadVideo` for a video that is damaged, too large or too long, and the errors of ``use``.
    """
    try:
        return use(_checked(decoder.probe(path, limits), limits))
    except MiscountedFramesError:
        timeline = timeline_by_decoding(path, limits)
    return use(_checked(timeline, limits))


def _checked(timeline: Timeline, limits: DecodeLimits) -> Timeline:
    check_pixels(timeline.width, timeline.height, limits)
    check_duration(timeline.duration_seconds, limits)
    check_readable(timeline.readable_fraction, limits)
    return timeline


def _decode(
    decoder: VideoDecoder,
    path: str,
    size_bytes: int,
    plan: DecodePlan,
    limits: DecodeLimits,
    timeline: Timeline,
    probe_seconds: float,
) -> tuple[PassResult, int]:
    started = time.perf_counter()
    selection = select(plan, timeline)
    check_frames_bytes(selection.wanted, limits)
    layout = tuple((spec, len(indices)) for spec, indices in selection.wanted.items())
    descriptor = shared_frames.create(layout)
    try:
        pictures = shared_frames.map_pictures(descriptor, layout)
        reading = decoder.read(path, timeline, selection.wanted, pictures, limits)
    except BaseException:
        os.close(descriptor)
        raise
    decoded = PassResult(
        probe=timeline.probed(
            reading.width, reading.height, reading.rotation_degrees, size_bytes, is_interlaced=reading.is_interlaced
        ),
        pts_seconds={spec: timeline.pts_seconds[indices] for spec, indices in selection.wanted.items()},
        clips=selection.clips,
        decoded_fraction=reading.decoded_fraction,
        milliseconds={"probe": probe_seconds * 1e3, "decode": (time.perf_counter() - started) * 1e3},
        decoder=reading.decoder,
        fallback_reason=reading.fallback_reason,
    )
    return decoded, descriptor
