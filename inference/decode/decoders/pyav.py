"""PyAV: one demuxing pass finds the presented frames, one decoding pass picks the wanted ones."""

from __future__ import annotations

import mmap
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain, count
from typing import Any, Protocol

import av
import av.error
import av.logging
from av.codec.hwaccel import HWAccel
from av.container import InputContainer
from av.stream import Discard, Disposition, Stream
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from inference.decode.decoders.adapter import Reading
from inference.decode.frames.picking import Picker
from inference.decode.frames.scaling import FrameWriter
from inference.decode.frames.skipping import SYNTAXES, needed
from inference.decode.frames.tally import PacketTally
from inference.decode.frames.timeline import Timeline
from inference.decode.limits import check_pixels
from inference.decode.options import DecodeLimits
from inference.errors import BadVideo, VideoFault
from inference.types import Frames, Indices, PictureSpec

# Demuxers of video containers and streams only. Playlists (hls, concat, dash) would make FFmpeg open other files;
# pictures (image2, jpeg_pipe, gif) are no videos.
FORMATS = (
    "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,mpegts,mpeg,avi,flv,live_flv,asf,rm,ogg,mxf,dv,nut,ivf,wtv,"
    "mpegvideo,h264,hevc,m4v,obu"
)
STILL_BRANDS = frozenset({"avif", "heic", "heix", "heim", "heis", "mif1"})  # pictures in an MP4 box structure
# Decoders that can skip frames to which no other frame refers; all other frames stay bit for bit the same.
SKIPPING_CODECS = frozenset({"h264", "hevc", "mpeg2video"})
_NOT_MOVING = Disposition.attached_pic | Disposition.timed_thumbnails | Disposition.still_image
_MAX_READ_ERRORS = 32  # in a row; after that many the demuxer is expected to return nothing more
_HEADROOM_BYTES_PER_PIXEL = 16  # two pictures of the widest format

av.logging.set_libav_level(av.logging.FATAL)  # a damaged file can cause thousands of lines


class FrameSink(Protocol):
    """The receiver of wanted frames."""

    def write(self, frame: VideoFrame, positions: Sequence[int]) -> None:
        """Receive a frame for the given, ascending positions of the timeline."""


@dataclass(frozen=True, slots=True)
class PyAv:
    """:class:`~inference.decode.decoders.adapter.VideoDecoder` over FFmpeg's own libraries."""

    def probe(self, path: str, limits: DecodeLimits) -> Timeline:
        """Demux the whole file."""
        with opened(path, limits) as (container, stream):
            check_pixels(stream.codec_context.width, stream.codec_context.height, limits)
            tally = PacketTally(container, stream)
            for packet in packets(container):
                tally.count(packet)
            return tally.timeline()

    def read(
        self,
        path: str,
        timeline: Timeline,
        wanted: Mapping[PictureSpec, Indices],
        frames: Mapping[PictureSpec, Frames],
        limits: DecodeLimits,
    ) -> Reading:
        """Decode from the start up to the last wanted frame."""
        picker = Picker(timeline, wanted.values(), limits)
        writer = FrameWriter(wanted, frames)
        with opened(path, limits) as (container, stream):
            read_wanted(container, stream, picker, writer, is_counted=timeline.ticks is None)
        return finished(picker, writer, timeline, "pyav")


def read_wanted(
    container: InputContainer, stream: VideoStream, picker: Picker, sink: FrameSink, *, is_counted: bool
) -> None:
    """Decode one stream, and no other, until every wanted frame was emitted."""
    for other in container.streams:
        other.discard = Discard.default if other is stream else Discard.all
    read_frames(container, stream, picker, sink, is_counted=is_counted)


def finished(picker: Picker, writer: FrameWriter, timeline: Timeline, decoder: str) -> Reading:
    """Fill the gaps and return the result. Raises :class:`BadVideo` if too few frames were decoded."""
    decoded_fraction = picker.decoded_fraction()
    if writer.upright_size is None:
        raise BadVideo(VideoFault.CORRUPT, f"no {timeline.codec} frame could be decoded")
    writer.fill_gaps()
    turned = writer.orientation
    return Reading(*writer.upright_size, turned.rotation_degrees, decoded_fraction, decoder, turned.is_mirrored)


def read_frames(
    container: InputContainer,
    stream: VideoStream,
    picker: Picker,
    sink: FrameSink,
    *,
    is_counted: bool,
    companions: Sequence[Stream] = (),
    take: Callable[[av.Packet[Any]], None] | None = None,
) -> None:
    """Decode until every wanted frame was emitted. With companions, read to the end: ``take`` gets their packets."""
    context = stream.codec_context
    may_skip = context.codec.canonical_name in SKIPPING_CODECS and not is_counted
    emitted = count()
    source = packets(container, stream, *companions)
    if may_skip and not companions:
        source = _without_skippable(source, stream, picker)
    for packet in chain(source, (None,)):  # None drains the decoder
        if take and packet is not None and packet.stream_index != stream.index:
            take(packet)
            continue
        if may_skip and packet is not None:
            context.skip_frame = "DEFAULT" if picker.wants(packet.pts) else "NONREF"
        for frame in _decoded(stream, packet, picker, emitted if is_counted else None):
            if frame.is_corrupt:
                check_headroom(stream)
            _pick(frame, next(emitted) if is_counted else frame.pts, picker, sink)
        if picker.is_done and not companions:
            return


def _without_skippable(
    source: Iterator[av.Packet[Any]], stream: VideoStream, picker: Picker
) -> Iterator[av.Packet[Any]]:
    """Leave out packets on which no wanted frame depends, for codecs whose packets show that."""
    syntax = SYNTAXES.get(stream.codec_context.codec.canonical_name)
    if syntax is None:
        return source
    configuration = stream.codec_context.extradata or b""

    def begins_closed_group(packet: av.Packet[Any]) -> bool:
        return packet.is_keyframe and syntax.is_refresh(bytes(packet), configuration)

    return needed(source, lambda packet: picker.wants(packet.pts), picker.missing, begins_closed_group)


def _decoded(
    stream: VideoStream, packet: av.Packet[Any] | None, picker: Picker, counter: Iterator[int] | None
) -> Sequence[VideoFrame]:
    """Return the frames that the decoder emits for a packet; none if the packet is broken."""
    try:
        return stream.codec_context.decode(packet)
    except av.error.MemoryError as error:
        raise MemoryError(str(error)) from error
    except av.FFmpegError:
        check_headroom(stream)
        if counter is not None:
            picker.broke(next(counter))
        elif packet is not None and packet.pts is not None:
            picker.broke(packet.pts)
        return ()


def _pick(frame: VideoFrame, key: int | None, picker: Picker, sink: FrameSink) -> None:
    if key is None:
        return
    if frame.is_corrupt:
        picker.broke(key)
    if positions := picker.arrived(key):
        sink.write(frame, positions)


def check_headroom(stream: VideoStream) -> None:
    """Raise MemoryError if no more pictures can be allocated: FFmpeg reports that case as invalid data."""
    wanted = _HEADROOM_BYTES_PER_PIXEL * max(1, stream.codec_context.width * stream.codec_context.height)
    try:
        mmap.mmap(-1, wanted).close()
    except OSError as error:
        raise MemoryError(f"no room for {wanted} bytes of pictures") from error


@contextmanager
def opened(
    path: str, limits: DecodeLimits, hwaccel: HWAccel | None = None
) -> Iterator[tuple[InputContainer, VideoStream]]:
    """Open a local file and find its video stream. Raises :class:`BadVideo` if there is none."""
    options = {"protocol_whitelist": "file", "format_whitelist": FORMATS, "threads": "1"}
    try:
        container = av.open(path, "r", options=options, metadata_errors="replace", hwaccel=hwaccel)
    except av.error.MemoryError as error:
        raise MemoryError(str(error)) from error
    except (FileNotFoundError, PermissionError):  # PyAV's errors are subclasses: the file was removed
        raise
    except av.FFmpegError as error:
        raise BadVideo(VideoFault.NOT_A_VIDEO, f"FFmpeg cannot open it as a video ({error.strerror})") from error
    with container:
        stream = _video_stream(container)
        stream.codec_context.thread_count = 1
        stream.codec_context.options = {"max_pixels": str(limits.max_pixels)}  # the size may change within the stream
        yield container, stream


def _video_stream(container: InputContainer) -> VideoStream:
    if container.metadata.get("major_brand", "").strip() in STILL_BRANDS:
        raise BadVideo(VideoFault.NOT_A_VIDEO, f"a still picture ({container.metadata['major_brand']})")
    best = container.streams.best("video")
    if not isinstance(best, VideoStream) or best.disposition & _NOT_MOVING:
        kinds = ", ".join(sorted(stream.type for stream in container.streams)) or "none"
        raise BadVideo(VideoFault.NOT_A_VIDEO, f"no moving picture in this {container.format.name}; streams: {kinds}")
    if best.codec_context is None:
        raise BadVideo(VideoFault.NOT_A_VIDEO, "FFmpeg has no decoder for its video stream")
    return best


def packets(container: InputContainer, *streams: Stream) -> Iterator[av.Packet[Any]]:
    """Yield the packets of the streams (default: all); continue after errors."""
    errors_in_row = 0
    while errors_in_row < _MAX_READ_ERRORS:
        try:
            for packet in container.demux(*streams):
                if packet.size:  # an empty packet would tell the decoder that the stream has ended
                    errors_in_row = 0
                    yield packet
        except av.error.MemoryError as error:
            raise MemoryError(str(error)) from error
        except av.FFmpegError:
            errors_in_row += 1
        else:
            return
