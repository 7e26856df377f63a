"""Opening a local video file, and reading its packets past errors and jumps of its clock."""

from __future__ import annotations

import mmap
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import av
import av.error
import av.logging
from av.codec.hwaccel import HWAccel
from av.container import InputContainer
from av.stream import Disposition, Stream
from av.video.stream import VideoStream

from inference.decode.frames.clock import UNREPAIRED, ClockRepair
from inference.decode.options import DecodeLimits
from inference.errors import BadVideo, VideoFault

# Demuxers of video containers and streams only. Playlists (hls, concat, dash) would make FFmpeg open other files;
# pictures (image2, jpeg_pipe, gif) are no videos.
FORMATS = (
    "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,mpegts,mpeg,avi,flv,live_flv,asf,rm,ogg,mxf,dv,nut,ivf,wtv,"
    "mpegvideo,h264,hevc,m4v,obu"
)
STILL_BRANDS = frozenset({"avif", "heic", "heix", "heim", "heis", "mif1"})  # pictures in an MP4 box structure
_NOT_MOVING = Disposition.attached_pic | Disposition.timed_thumbnails | Disposition.still_image
_MAX_READ_ERRORS = 32  # in a row; after that many the demuxer is expected to return nothing more
_HEADROOM_BYTES_PER_PIXEL = 16  # two pictures of the widest format

av.logging.set_libav_level(av.logging.FATAL)  # a damaged file can cause thousands of lines


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


def packets(container: InputContainer, *streams: Stream, clock: ClockRepair = UNREPAIRED) -> Iterator[av.Packet[Any]]:
    """Yield the packets of the streams (default: all), by the repaired clock; continue after errors."""
    source = _packets(container, *streams)
    return _repaired(source, clock) if clock.shifts else source


def check_headroom(stream: VideoStream) -> None:
    """Raise MemoryError if no more pictures can be allocated: FFmpeg reports that case as invalid data."""
    wanted = _HEADROOM_BYTES_PER_PIXEL * max(1, stream.codec_context.width * stream.codec_context.height)
    try:
        mmap.mmap(-1, wanted).close()
    except OSError as error:
        raise MemoryError(f"no room for {wanted} bytes of pictures") from error


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


def _packets(container: InputContainer, *streams: Stream) -> Iterator[av.Packet[Any]]:
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


def _repaired(source: Iterator[av.Packet[Any]], clock: ClockRepair) -> Iterator[av.Packet[Any]]:
    numbers: Counter[int] = Counter()
    for packet in source:
        index = packet.stream_index
        if ticks := clock.ticks(index, numbers[index], float(packet.time_base)):
            packet.pts = None if packet.pts is None else packet.pts + ticks
            packet.dts = None if packet.dts is None else packet.dts + ticks
        numbers[index] += 1
        yield packet
