"""A single pass over a video: probe, check, select, decode. Runs in the decoder process."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass

from inference.decode.decoders.adapter import VideoDecoder
from inference.decode.frames import shared_frames
from inference.decode.frames.selection import select
from inference.decode.frames.timeline import Timeline
from inference.decode.limits import check_duration, check_fraction, check_frames_bytes, check_pixels
from inference.decode.options import DecodeLimits
from inference.types import Clip, DecodePlan, PictureSpec, Seconds, VideoProbe


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
    started = time.perf_counter()
    timeline = checked_timeline(decoder, path, limits)
    selection = select(plan, timeline)
    check_frames_bytes(selection.wanted, limits)
    probed = time.perf_counter()

    layout = tuple((spec, len(indices)) for spec, indices in selection.wanted.items())
    descriptor = shared_frames.create(layout)
    try:
        pictures = shared_frames.map_pictures(descriptor, layout)
        reading = decoder.read(path, timeline, selection.wanted, pictures, limits)
    except BaseException:
        os.close(descriptor)
        raise
    decoded = PassResult(
        probe=timeline.probed(reading.width, reading.height, reading.rotation_degrees, size_bytes),
        pts_seconds={spec: timeline.pts_seconds[indices] for spec, indices in selection.wanted.items()},
        clips=selection.clips,
        decoded_fraction=reading.decoded_fraction,
        milliseconds={"probe": (probed - started) * 1e3, "decode": (time.perf_counter() - probed) * 1e3},
        decoder=reading.decoder,
        fallback_reason=reading.fallback_reason,
    )
    return decoded, descriptor


def checked_timeline(decoder: VideoDecoder, path: str, limits: DecodeLimits) -> Timeline:
    """Find every presented frame. Raises :class:`BadVideo` for a video that is damaged, too large or too long."""
    timeline = decoder.probe(path, limits)
    check_pixels(timeline.width, timeline.height, limits)
    check_duration(timeline.duration_seconds, limits)
    check_fraction(timeline.readable_fraction, limits)
    return timeline
