"""Counting a video's packets in one demuxing pass, and turning the count into a timeline."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any, NamedTuple, Self

import av
import numpy as np
from av.container import InputContainer
from av.video.stream import VideoStream

from inference.decode.frames.bitstream import FIELDS, Content, content_reader
from inference.decode.frames.clock import UNREPAIRED, ClockRepair, Stamps, repair
from inference.decode.frames.timeline import Presentation, Timeline, present, present_emitted
from inference.errors import BadVideo, VideoFault

# FFmpeg invents the pts of these formats: AVI stores none, and elementary streams have no timestamps.
CLOCKLESS_FORMATS = frozenset({"avi", "h264", "hevc", "m4v", "mpegvideo", "obu"})
# Recordings of streams, and the gap from which on their clock has leaped: 10 s as in the ffmpeg command, for formats
# that it marks so. FLV is not marked: files hold pictures that stay for seconds.
_LEAP_SECONDS = {"mpegts": 10.0, "mpeg": 10.0, "wtv": 10.0, "live_flv": 10.0, "flv": 60.0}
_FORMATS_WITH_DERIVED_DTS = frozenset({"matroska,webm", "ogg", "asf", "rm", "nut"})


class PacketStamp(NamedTuple):
    """The timestamps of a packet or frame, in ticks of its stream's time base."""

    pts: int | None
    dts: int | None


@dataclass(frozen=True, slots=True)
class VideoSource:
    """The properties of a video stream that its headers state."""

    container: str
    codec: str
    width: int
    height: int
    stream: int  # its index
    time_base: Fraction
    rate: Fraction | None  # frames a second
    has_true_pts: bool

    @classmethod
    def of(cls, container: InputContainer, stream: VideoStream) -> Self:
        """Read the headers of an open file."""
        context = stream.codec_context
        return cls(
            container=container.format.name,
            codec=context.codec.canonical_name,
            width=context.width,
            height=context.height,
            stream=stream.index,
            time_base=stream.time_base or Fraction(1, 1),
            rate=stream.average_rate or stream.guessed_rate,
            has_true_pts=container.format.name not in CLOCKLESS_FORMATS,
        )

    def timeline(
        self, shown: Presentation, clock: ClockRepair, readable_fraction: float, *, is_decoded: bool = False
    ) -> Timeline:
        """Return the timeline of the presented frames."""
        return Timeline(
            container=self.container,
            codec=self.codec,
            width=self.width,
            height=self.height,
            pts_seconds=shown.pts_seconds,
            duration_seconds=shown.duration_seconds,
            ticks=shown.ticks,
            readable_fraction=readable_fraction,
            origin_seconds=shown.origin_seconds,
            clock=clock,
            is_decoded=is_decoded,
        )


class PacketTally:
    """A running count of packets, from which :meth:`timeline` makes a :class:`Timeline`."""

    def __init__(self, container: InputContainer, stream: VideoStream) -> None:
        self.source = VideoSource.of(container, stream)
        self._content = content_reader(self.source.codec, stream.codec_context.extradata or b"")
        self._seconds_per_tick = np.array([float(other.time_base or 0) for other in container.streams])
        self._streams: list[int] = []  # of every packet
        self._stamps: list[PacketStamp] = []  # of every packet
        self._keys: list[bool] = []  # of every packet: a keyframe of the video stream
        self._video_stamps: list[PacketStamp] = []
        self._sizes: list[int] = []  # bytes of every video packet
        self._frames: list[int] = []  # the numbers of the video packets that hold a frame
        self._first_key: int | None = None  # the number of the first keyframe's packet
        self._has_fields = False
        self._first_field: Content | None = None  # whose second field is due

    def count(self, packet: av.Packet[Any]) -> None:
        """Count one packet of any stream."""
        stamp = PacketStamp(packet.pts, packet.dts)
        self._streams.append(packet.stream_index)
        # Packets that an edit list discards lie before the edit, and may overlap the one before it: no jump.
        self._stamps.append(PacketStamp(None, None) if packet.is_discard else stamp)
        self._keys.append(packet.is_keyframe and packet.stream_index == self.source.stream and not packet.is_discard)
        if packet.stream_index != self.source.stream:
            return
        number = len(self._video_stamps)
        self._video_stamps.append(stamp)
        self._sizes.append(packet.size)
        if packet.is_keyframe and self._first_key is None:
            self._first_key = number
            self._frames.clear()  # a stream recorded from its middle cannot show the frames before
            self._first_field = None
        if packet.has_sidedata("new_extradata"):
            self._content = content_reader(self.source.codec, bytes(packet.get_sidedata("new_extradata")))
        content = self._content(bytes(packet)) if self._content else Content.FRAME
        if content is Content.NOTHING or packet.is_discard:  # discarded: an edit list removes it
            return
        if not self._is_second_field(content):
            self._frames.append(number)

    def _is_second_field(self, content: Content) -> bool:
        """Return True if the packet completes the frame that the packet before it began."""
        is_second = content in FIELDS and self._first_field is not None and content is not self._first_field
        self._first_field = content if content in FIELDS and not is_second else None
        self._has_fields |= content in FIELDS
        return is_second

    def timeline(self, readable_fraction: float) -> Timeline:
        """Return the frames in presentation order. Raises :class:`BadVideo` if there are none."""
        clock = self.clock()
        stamps = self._presented(clock)
        if not stamps:
            raise BadVideo(VideoFault.NO_FRAMES, f"the {self.source.codec} stream holds no frames")
        shown = present(
            [stamp.pts for stamp in stamps],
            [stamp.dts for stamp in stamps],
            time_base=self.source.time_base,
            rate=self.source.rate,
            has_true_pts=self.source.has_true_pts,
        )
        timeline = replace(
            self.source.timeline(shown, clock, readable_fraction),
            has_fields=self._has_fields,
            needs_decoding=shown.is_guessed and self.source.has_true_pts,
        )
        return self.with_sizes(timeline)

    def with_sizes(self, timeline: Timeline) -> Timeline:
        """Return the timeline of this video with the bytes of its packets in each second.

        Packets without a time, and those before or after the frames, count where their number in the file puts them.
        """
        last = int(timeline.duration_seconds)
        by_number = np.arange(len(self._sizes)) * timeline.duration_seconds / max(1, len(self._sizes))
        ticks = [self._repaired(number, timeline.clock).pts for number in range(len(self._sizes))]
        if timeline.ticks is not None:
            pts = np.array(ticks, dtype=np.float64) * float(self.source.time_base) - timeline.origin_seconds
            by_number = np.where(np.isnan(pts), by_number, pts)
        seconds = np.clip(by_number, 0, last).astype(np.int64)
        counted = np.bincount(seconds, weights=np.array(self._sizes, dtype=np.float64), minlength=last + 1)
        return replace(timeline, bytes_per_second=tuple(map(int, counted)))

    def clock(self) -> ClockRepair:
        """Return the repair of the clocks of all streams."""
        name = self.source.container
        if name in CLOCKLESS_FORMATS:
            return UNREPAIRED
        streams = np.array(self._streams, dtype=np.int64)
        pts, dts = np.array(self._stamps, dtype=np.float64).reshape(-1, 2).T * self._seconds_per_tick[streams]
        return repair(
            Stamps(streams, pts, dts, np.array(self._keys, dtype=np.bool_)),
            leap_seconds=_LEAP_SECONDS.get(name, math.inf),
            has_derived_dts=name in _FORMATS_WITH_DERIVED_DTS,
        )

    def _presented(self, clock: ClockRepair) -> list[PacketStamp]:
        """Leave out frames presented before the first keyframe: they refer to a picture that the file lacks."""
        repaired = [self._repaired(number, clock) for number in self._frames]
        if self._first_key is None or not self.source.has_true_pts:
            return repaired
        first = self._repaired(self._first_key, clock).pts
        return [stamp for stamp in repaired if stamp.pts is None or first is None or stamp.pts >= first]

    def _repaired(self, number: int, clock: ClockRepair) -> PacketStamp:
        stamp = self._video_stamps[number]
        ticks = clock.ticks(self.source.stream, number, float(self.source.time_base))
        return PacketStamp(*(None if moment is None else moment + ticks for moment in stamp)) if ticks else stamp


def decoded_timeline(
    source: VideoSource, emitted: Sequence[PacketStamp], clock: ClockRepair, readable_fraction: float
) -> Timeline:
    """Return the timeline of the frames that a decoder emits. Raises :class:`BadVideo` if there are none."""
    if not emitted:
        raise BadVideo(VideoFault.NO_FRAMES, f"the decoder emits no frame of the {source.codec} stream")
    shown = present_emitted(
        [stamp.pts for stamp in emitted],
        [stamp.dts for stamp in emitted],
        time_base=source.time_base,
        rate=source.rate,
        has_true_pts=source.has_true_pts,
    )
    return source.timeline(shown, clock, readable_fraction, is_decoded=True)
