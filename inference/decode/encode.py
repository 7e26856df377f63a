"""Writing a cropped video: H.264 with the source's own sound, in an MP4 whose index comes first.

Equal frames give equal bytes, so that a crop made twice is stored once.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from fractions import Fraction
from typing import Any, Final

import av
import av.error
import numpy as np
from av.audio.stream import AudioStream
from av.container import InputContainer, OutputContainer
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from inference.decode.decoders.source import check_headroom
from inference.decode.frames.orientation import Orientation
from inference.decode.frames.timeline import Timeline
from inference.decode.options import DecodeLimits
from inference.errors import BadVideo, VideoFault
from inference.types import Indices

CODEC: Final = "libx264"
# crf 18: visually close to the source. No B-frames: with them the MP4's duration and edit list are wrong where frames
# have unequal durations.
CODEC_OPTIONS = {"preset": "veryfast", "crf": "18", "profile": "high", "bf": "0"}
CONTAINER = "mp4"
CONTAINER_OPTIONS = {"movflags": "+faststart", "fflags": "+bitexact"}  # the latter leaves out date and versions
REVISION = 1  # of this file: raise it with every change that changes the written bytes
# The codecs that players expect in an MP4; FFmpeg would write others, too.
MP4_AUDIO = frozenset({"aac", "mp3", "mp2", "ac3", "eac3", "alac", "flac", "opus"})
_COUNTED_TIME_BASE = Fraction(1, 90_000)  # of sources whose frames have no timestamps


def encoder_identity() -> dict[str, Any]:
    """Return everything that determines the written bytes, apart from the source and the crop."""
    libavcodec = ".".join(map(str, av.library_versions["libavcodec"]))
    return {"codec": CODEC, "options": CODEC_OPTIONS, "libavcodec": libavcodec, "revision": REVISION}


def copyable_audio(container: InputContainer) -> list[AudioStream]:
    """Return the audio streams that can be copied into an MP4."""
    known = [stream for stream in container.streams.audio if stream.codec_context is not None]
    return [stream for stream in known if stream.codec_context.codec.canonical_name in MP4_AUDIO]


class CropEncoder:
    """Encodes frames in order, each at its time in the source. The first frame determines size and colours."""

    def __init__(
        self, path: str, stream: VideoStream, audio: Sequence[AudioStream], timeline: Timeline, limits: DecodeLimits
    ) -> None:
        self._path = path
        self._stream = stream
        self._audio = audio
        self._limits = limits
        self._time_base, self._ticks = _clock(stream, timeline)
        self._origin_seconds = Fraction(timeline.origin_seconds)
        self._seconds = timeline.duration_seconds
        self._durations = _durations(self._ticks, float(timeline.duration_seconds / self._time_base))
        self._output: OutputContainer | None = None
        self._video: VideoStream
        self._copies: dict[int, AudioStream] = {}
        self._early: list[av.Packet[Any]] = []  # sound that was read before the first picture
        self._last_position = -1
        self.num_frames = 0
        self.written_bytes = 0

    def encode(self, frame: VideoFrame, positions: Sequence[int], turned: Orientation) -> None:
        """Encode a frame at each of the positions. Raises :class:`BadVideo`, MemoryError, OSError."""
        with self._faults():
            if self._output is None:
                self._open(frame, turned)
            for position in positions:
                if position > self._last_position:  # else an earlier frame was repeated in its place
                    self._encode(frame, position)

    def take(self, packet: av.Packet[Any]) -> None:
        """Copy one packet of sound."""
        if self._output is None:
            self._early.append(packet)
            return
        with self._faults():
            self._copy(packet)

    def finish(self) -> None:
        """Write the delayed packets and the index. Raises :class:`BadVideo`, MemoryError, OSError."""
        if self._output is None:
            raise BadVideo(VideoFault.CROP_FAILED, "no frame could be decoded, so there is nothing to crop")
        with self._faults():
            self._mux(self._video.encode(None))
            self._output.close()

    def discard(self) -> None:
        """Close the unfinished output; the file is of no use."""
        if self._output is not None:
            with suppress(av.FFmpegError):
                self._output.close()

    def _open(self, first: VideoFrame, turned: Orientation) -> None:
        output = av.open(self._path, "w", format=CONTAINER, options=dict(CONTAINER_OPTIONS))
        rate = Fraction(len(self._ticks) / self._seconds).limit_denominator(1001)
        video = output.add_stream(CODEC, rate=max(rate, Fraction(1, 1001)), options=dict(CODEC_OPTIONS))
        video.width, video.height, video.pix_fmt = first.width, first.height, first.format.name
        context = video.codec_context
        context.time_base, context.thread_count = self._time_base, 1
        if shape := self._stream.sample_aspect_ratio:  # of a pixel
            context.sample_aspect_ratio = 1 / shape if turned.is_transposed else shape
        context.color_range, context.colorspace = first.color_range, first.colorspace
        context.color_primaries, context.color_trc = first.color_primaries, first.color_trc
        self._copies = {stream.index: output.add_stream_from_template(stream) for stream in self._audio}
        self._output, self._video = output, video
        early, self._early = self._early, []
        for packet in early:
            self._copy(packet)

    def _encode(self, frame: VideoFrame, position: int) -> None:
        frame.pts, frame.time_base = int(self._ticks[position] - self._ticks[0]), self._time_base
        self._mux(self._video.encode(frame))
        self._last_position = position
        self.num_frames += 1

    def _copy(self, packet: av.Packet[Any]) -> None:
        if packet.dts is None or packet.time_base is None:  # it cannot be placed in time
            return
        shift = round(self._origin_seconds / packet.time_base)
        packet.dts -= shift
        packet.pts = packet.dts if packet.pts is None else packet.pts - shift
        packet.stream = self._copies[packet.stream_index]
        self._mux([packet])

    def _mux(self, packets: Sequence[av.Packet[Any]]) -> None:
        for packet in packets:
            if packet.stream is self._video and packet.pts is not None:
                packet.duration = self._durations[packet.pts]
            self.written_bytes += packet.size
            self._output.mux(packet)  # type: ignore[union-attr]  # opened with the first frame
        if self.written_bytes > self._limits.max_bytes:
            raise BadVideo(
                VideoFault.CROP_FAILED, f"the crop grew over the limit of {self._limits.max_bytes} bytes for one video"
            )

    @contextmanager
    def _faults(self) -> Iterator[None]:
        try:
            yield
        except av.error.MemoryError as error:
            raise MemoryError(str(error)) from error
        except av.error.OSError as error:  # the disk is full or fails: the video is not the cause
            raise OSError(error.errno, error.strerror) from error
        except av.FFmpegError as error:
            check_headroom(self._stream)
            raise BadVideo(VideoFault.CROP_FAILED, f"the crop cannot be encoded ({error.strerror})") from error


def _clock(stream: VideoStream, timeline: Timeline) -> tuple[Fraction, Indices]:
    """Return the time base, and each frame's pts in it."""
    if timeline.ticks is not None and stream.time_base is not None:
        return stream.time_base, timeline.ticks
    ticks = np.rint(timeline.pts_seconds * float(1 / _COUNTED_TIME_BASE)).astype(np.int64)
    return _COUNTED_TIME_BASE, ticks


def _durations(ticks: Indices, end: float) -> dict[int, int]:
    """Return each frame's duration by its pts from the first frame; all in ticks."""
    from_first = ticks - ticks[0]
    durations = np.diff(from_first, append=max(round(end), int(from_first[-1]) + 1))
    return dict(zip(from_first.tolist(), durations.tolist(), strict=True))
