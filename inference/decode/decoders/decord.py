"""decord, for comparing scores with its pictures. Files that it would decode wrongly are refused."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

import decord
import numpy as np
from decord import logging

from inference.decode.decoders.adapter import Reading
from inference.decode.decoders.pyav import PyAv
from inference.decode.frames.fit import Placement, place, placement
from inference.decode.frames.timeline import Timeline
from inference.decode.options import DecodeLimits
from inference.errors import BadVideo, VideoFault
from inference.types import Frames, Indices, PictureSpec

# It seeks to the start before it reads, and in a transport stream that lands on the second keyframe.
_UNSUPPORTED_FORMATS = frozenset({"mpegts"})
_THUMBNAIL = PictureSpec(16, 16)

logging.set_level(logging.QUIET)


@dataclass(frozen=True, slots=True)
class Decord:
    """:class:`~inference.decode.decoders.adapter.VideoDecoder` over decord: one pass for each picture size.

    decord reports neither container, codec nor rotation, and opens files named by a playlist. So PyAV first opens the
    file and counts its frames, and decord must count the same number. Access by index (``get_batch``, ``vr[n]``)
    seeks, and returns frames nearby in open groups of pictures: frames are read in sequence instead.
    """

    pyav: PyAv = field(default_factory=PyAv)

    def probe(self, path: str, limits: DecodeLimits) -> Timeline:
        """Demux the whole file, with PyAV."""
        timeline = self.pyav.probe(path, limits)
        if timeline.container in _UNSUPPORTED_FORMATS:
            raise _unsupported(f"decord leaves out the first frames of {timeline.container}")
        return timeline

    def read(
        self,
        path: str,
        timeline: Timeline,
        wanted: Mapping[PictureSpec, Indices],
        frames: Mapping[PictureSpec, Frames],
        limits: DecodeLimits,
    ) -> Reading:
        """Read from the start up to the last wanted frame of each picture."""
        ends = np.unique([0, len(timeline.pts_seconds) - 1])  # up to the last frame: PyAV then checks its count
        reading = self._read_thumbnails(path, timeline, ends, limits)
        if reading.is_mirrored:
            raise _unsupported("decord rotates pictures, but does not mirror them")
        try:
            for spec, indices in wanted.items():
                placed = placement(spec, reading.width, reading.height)
                _fill(frames[spec], indices, placed, _presented(path, timeline, placed))
        except _FailedError as error:
            every = np.arange(len(timeline.pts_seconds))
            if self._read_thumbnails(path, timeline, every, limits).decoded_fraction < 1:
                raise BadVideo(VideoFault.CORRUPT, str(error)) from error
            raise _unsupported(str(error)) from error
        return replace(reading, decoded_fraction=timeline.readable_fraction, decoder="decord")

    def _read_thumbnails(self, path: str, timeline: Timeline, indices: Indices, limits: DecodeLimits) -> Reading:
        """Decode with PyAV. Raises :class:`BadVideo` for a video that is damaged."""
        frames = np.empty((len(indices), _THUMBNAIL.height, _THUMBNAIL.width, 3), dtype=np.uint8)
        return self.pyav.read(path, timeline, {_THUMBNAIL: indices}, {_THUMBNAIL: frames}, limits)


class _FailedError(Exception):
    """decord cannot read a file, which may be damaged, or sound and of a kind that decord does not know."""


def _fill(canvases: Frames, indices: Indices, placed: Placement, presented: Iterator[decord.nd.NDArray]) -> None:
    rows = iter(enumerate(indices.tolist()))
    row, index = next(rows)
    for number, frame in enumerate(presented):
        if number == index:
            place(frame.asnumpy(), placed, canvases[row])
            row, index = next(rows, (row, -1))
        if index < 0:
            return


def _presented(path: str, timeline: Timeline, placed: Placement) -> Iterator[decord.nd.NDArray]:
    """Yield every frame (height, width, 3), upright and scaled. Raises :class:`BadVideo`, :class:`_FailedError`."""
    try:
        reader = decord.VideoReader(path, width=placed.width, height=placed.height, num_threads=1)
    except (decord.DECORDError, RuntimeError, AssertionError) as error:
        raise _FailedError(f"decord cannot open this {timeline.codec}: {_reason(error)}") from error
    counted = len(timeline.pts_seconds)
    if len(reader) != counted:
        raise _unsupported(f"decord counts {len(reader)} frames where {counted} are presented")
    for number in range(counted):
        try:
            yield reader.next()
        except (decord.DECORDError, StopIteration) as error:
            raise _FailedError(f"decord fails at frame {number}: {_reason(error)}") from error


def _unsupported(reason: str) -> BadVideo:
    return BadVideo(VideoFault.UNSUPPORTED, f"{reason}: use the decoder pyav")


def _reason(error: Exception) -> str:
    """Return the last line of decord's report, which names the error."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__
