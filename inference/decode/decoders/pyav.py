"""PyAV: one demuxing pass finds the presented frames, one decoding pass picks the wanted ones."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, count
from typing import Any, Protocol

import av
import av.error
from av.container import InputContainer
from av.stream import Discard, Stream
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from inference.decode.decoders.adapter import Reading
from inference.decode.decoders.announced import readable_fraction
from inference.decode.decoders.source import check_headroom, opened, packets
from inference.decode.frames.bitstream import SYNTAXES
from inference.decode.frames.picking import EmissionCheck, Picker
from inference.decode.frames.scaling import FrameWriter
from inference.decode.frames.skipping import ParameterSets, needed
from inference.decode.frames.tally import PacketStamp, PacketTally, decoded_timeline
from inference.decode.frames.timeline import Timeline
from inference.decode.limits import check_duration, check_pixels
from inference.decode.options import DecodeLimits
from inference.errors import BadVideo, VideoFault
from inference.types import Frames, Indices, PictureSpec

# Decoders that can skip frames to which no other frame refers; all other frames stay bit for bit the same.
SKIPPING_CODECS = frozenset({"h264", "hevc", "mpeg2video"})


class FrameSink(Protocol):
    """The receiver of wanted frames."""

    def write(self, frame: VideoFrame, positions: Sequence[int]) -> None:
        """Receive a frame for the given, ascending positions of the timeline."""


@dataclass(frozen=True, slots=True)
class PyAv:
    """:class:`~inference.decode.decoders.adapter.VideoDecoder` over FFmpeg's own libraries."""

    def probe(self, path: str, limits: DecodeLimits) -> Timeline:
        """Demux the whole file; decode it, too, if its packets do not show the times of the frames."""
        tally, fraction = _tally(path, limits)
        timeline = tally.timeline(fraction)
        if not timeline.needs_decoding:
            return timeline
        check_duration(timeline.duration_seconds, limits)
        return timeline_by_decoding(path, limits)

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
            is_interlaced = read_wanted(container, stream, timeline, picker, writer)
        return finished(picker, writer, timeline, "pyav", is_interlaced=is_interlaced)


def timeline_by_decoding(path: str, limits: DecodeLimits) -> Timeline:
    """Count the frames that the decoder emits for the whole file. Raises :class:`BadVideo`, MemoryError."""
    tally, fraction = _tally(path, limits)
    clock = tally.clock()
    with opened(path, limits) as (container, stream):
        _discard_others(container, stream)
        fed = chain(packets(container, stream, clock=clock), (None,))  # None drains the decoder
        emitted = [stamp for packet in fed for _, stamp in _decoded(stream, packet)]
    return tally.with_sizes(decoded_timeline(tally.source, emitted, clock, fraction))


def _tally(path: str, limits: DecodeLimits) -> tuple[PacketTally, float]:
    with opened(path, limits) as (container, stream):
        check_pixels(stream.codec_context.width, stream.codec_context.height, limits)
        tally = PacketTally(container, stream)
        for packet in packets(container):
            tally.count(packet)
        return tally, readable_fraction(path, container, stream)


def read_wanted(
    container: InputContainer, stream: VideoStream, timeline: Timeline, picker: Picker, sink: FrameSink
) -> bool:
    """Decode one stream, and no other, until every wanted frame was emitted; return as :func:`read_frames` does."""
    _discard_others(container, stream)
    return read_frames(container, stream, timeline, picker, sink)


def _discard_others(container: InputContainer, stream: VideoStream) -> None:
    for other in container.streams:
        other.discard = Discard.default if other is stream else Discard.all


def finished(picker: Picker, writer: FrameWriter, timeline: Timeline, decoder: str, *, is_interlaced: bool) -> Reading:
    """Fill the gaps and return the result. Raises :class:`BadVideo` if too few frames were decoded."""
    decoded_fraction = picker.decoded_fraction()
    if writer.upright_size is None:
        raise BadVideo(VideoFault.CORRUPT, f"no {timeline.codec} frame could be decoded")
    writer.fill_gaps()
    turned = writer.orientation
    return Reading(
        *writer.upright_size,
        turned.rotation_degrees,
        decoded_fraction,
        decoder,
        is_mirrored=turned.is_mirrored,
        is_interlaced=is_interlaced,
    )


def read_frames(
    container: InputContainer,
    stream: VideoStream,
    timeline: Timeline,
    picker: Picker,
    sink: FrameSink,
    *,
    companions: Sequence[Stream] = (),
    take: Callable[[av.Packet[Any]], None] | None = None,
) -> bool:
    """Decode until every wanted frame was emitted. With companions, read to the end: ``take`` gets their packets.

    The end is reached, too, where no packet is skipped, since each frame then confirms the count of all.

    Return True if any frame is interlaced. Raises :class:`BadVideo`, MemoryError; MiscountedFramesError if the
    decoder emits other frames than the timeline has.
    """
    is_counted = timeline.ticks is None
    may_skip = stream.codec_context.codec.canonical_name in SKIPPING_CODECS and not (is_counted or timeline.has_fields)
    check = EmissionCheck(timeline, picker.positions, is_skipping=may_skip)
    source = packets(container, stream, *companions, clock=timeline.clock)
    if may_skip and not companions:
        source = _without_skippable(source, stream, picker)
    numbers = count()
    is_interlaced = False
    for packet in chain(source, (None,)):  # None drains the decoder
        if packet is not None:
            if take and packet.stream_index != stream.index:
                take(packet)
                continue
            if may_skip:
                stream.codec_context.skip_frame = "DEFAULT" if picker.wants(packet.pts) else "NONREF"
            check.fed()
        for frame, stamp in _decoded(stream, packet):
            key = next(numbers) if is_counted else stamp.pts
            _pick(frame, key, stream, picker, check, sink)
            is_interlaced |= frame is not None and frame.interlaced_frame
        if picker.is_done and not companions and not check.is_open:
            return is_interlaced
    check.ended()
    return is_interlaced


def _without_skippable(
    source: Iterator[av.Packet[Any]], stream: VideoStream, picker: Picker
) -> Iterator[av.Packet[Any]]:
    """Leave out packets on which no wanted frame depends, for codecs whose packets show that."""
    syntax = SYNTAXES.get(stream.codec_context.codec.canonical_name)
    if syntax is None:
        return source
    sets = ParameterSets(syntax, stream.codec_context.extradata or b"")

    def begins_closed_group(packet: av.Packet[Any]) -> bool:
        return packet.is_keyframe and syntax.is_refresh(bytes(packet), sets.configuration)

    def changes_state(packet: av.Packet[Any]) -> bool:
        has_configuration = packet.has_sidedata("new_extradata")
        new_configuration = bytes(packet.get_sidedata("new_extradata")) if has_configuration else None
        return sets.are_changed_by(bytes(packet), new_configuration) or packet.has_sidedata("param_change")

    return needed(source, lambda packet: picker.wants(packet.pts), picker.missing, begins_closed_group, changes_state)


def _decoded(
    stream: VideoStream, packet: av.Packet[Any] | None
) -> Iterator[tuple[VideoFrame, PacketStamp] | tuple[None, PacketStamp]]:
    """Yield the frames that the decoder emits for a packet, with their timestamps; None if the packet is broken."""
    try:
        frames = stream.codec_context.decode(packet)
    except av.error.MemoryError as error:
        raise MemoryError(str(error)) from error
    except av.FFmpegError:
        check_headroom(stream)
        yield None, PacketStamp(None, None) if packet is None else PacketStamp(packet.pts, packet.dts)
    else:
        for frame in frames:
            yield frame, PacketStamp(frame.pts, frame.dts)


def _pick(
    frame: VideoFrame | None,
    key: int | None,
    stream: VideoStream,
    picker: Picker,
    check: EmissionCheck,
    sink: FrameSink,
) -> None:
    if frame is None or frame.is_corrupt:
        check_headroom(stream)
        check.damaged()
        if key is not None and not picker.is_done:
            picker.broke(key)
    if frame is None:
        return
    check.emitted(key)
    if key is not None and (positions := picker.arrived(key)):
        sink.write(frame, positions)
