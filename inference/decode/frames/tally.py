"""Counting a video's packets in one demuxing pass, and turning the count into a timeline."""

from __future__ import annotations

from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

import av
from av.container import InputContainer
from av.video.stream import VideoStream

from inference.decode.frames.timeline import Timeline, present
from inference.errors import BadVideo, VideoFault

# FFmpeg invents the pts of these formats: AVI stores none, and elementary streams have no timestamps.
CLOCKLESS_FORMATS = frozenset({"avi", "h264", "hevc", "m4v", "mpegvideo", "obu"})
# Their headers state a duration; for other formats FFmpeg estimates it from the packets or the bit rate.
PROMISING_FORMATS = frozenset({"mov,mp4,m4a,3gp,3g2,mj2", "matroska,webm", "avi", "flv", "asf"})
_SLACK_SECONDS, _SLACK_FRACTION = 0.25, 0.02  # headers round, and leave out or add the last frame


@dataclass(slots=True)
class PacketTally:
    """A running count of packets, from which :meth:`timeline` makes a :class:`Timeline`."""

    container: InputContainer
    stream: VideoStream
    pts: list[int | None] = field(default_factory=list)
    dts: list[int | None] = field(default_factory=list)
    packets: int = 0
    has_keyframe: bool = False
    first_key_pts: int | None = None
    end_seconds: float = 0.0

    def count(self, packet: av.Packet[Any]) -> None:
        """Count one packet of any stream."""
        if packet.pts is not None:
            end = (packet.pts + (packet.duration or 0)) * packet.time_base
            self.end_seconds = max(self.end_seconds, float(end))
        if packet.stream_index != self.stream.index:
            return
        self.packets += 1
        if packet.is_keyframe and not self.has_keyframe:
            self._start_at(packet)
        if not packet.is_discard:  # an edit list cuts it out
            self.pts.append(packet.pts)
            self.dts.append(packet.dts)

    def timeline(self) -> Timeline:
        """Return the frames in presentation order. Raises :class:`BadVideo` if there are none."""
        pts, dts = self._presented()
        if not pts:
            raise BadVideo(VideoFault.NO_FRAMES, f"the {self.stream.codec_context.name} stream holds no frames")
        shown = present(
            pts,
            dts,
            time_base=self.stream.time_base or Fraction(1, 1),
            rate=self.stream.average_rate or self.stream.guessed_rate,
            has_true_pts=self.container.format.name not in CLOCKLESS_FORMATS,
        )
        context = self.stream.codec_context
        return Timeline(
            container=self.container.format.name,
            codec=context.codec.canonical_name,
            width=context.width,
            height=context.height,
            pts_seconds=shown.pts_seconds,
            duration_seconds=shown.duration_seconds,
            ticks=shown.ticks,
            readable_fraction=min(self._indexed_fraction(), self._promised_fraction()),
        )

    def _start_at(self, packet: av.Packet[Any]) -> None:
        """Forget the packets before the first keyframe: a stream recorded from its middle cannot show them."""
        self.has_keyframe, self.first_key_pts = True, packet.pts
        self.pts.clear()
        self.dts.clear()

    def _presented(self) -> tuple[list[int | None], list[int | None]]:
        """Leave out frames presented before the first keyframe: they refer to a picture that the file lacks."""
        first = self.first_key_pts
        if first is None or self.container.format.name in CLOCKLESS_FORMATS:
            return self.pts, self.dts
        kept = [n for n, pts in enumerate(self.pts) if pts is None or pts >= first]
        return [self.pts[n] for n in kept], [self.dts[n] for n in kept]

    def _indexed_fraction(self) -> float:
        return min(1.0, self.packets / max(1, len(self.stream.index_entries)))

    def _promised_fraction(self) -> float:
        promised = (self.container.duration or 0) / av.time_base
        if promised <= 0 or self.container.format.name not in PROMISING_FORMATS:
            return 1.0
        start_seconds = (self.container.start_time or 0) / av.time_base
        absent_seconds = promised - (self.end_seconds - start_seconds)
        if absent_seconds <= _SLACK_SECONDS + _SLACK_FRACTION * promised:
            return 1.0
        return 1 - absent_seconds / promised
