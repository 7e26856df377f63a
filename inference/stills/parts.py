"""One part of a video in one process: decoded from its entry on, its wanted frames written or compared."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from av.container import InputContainer
from av.video.frame import VideoFrame
from av.video.reformatter import VideoReformatter
from av.video.stream import VideoStream

from inference.decode.decoders.pyav import FrameSink, read_wanted
from inference.decode.decoders.source import opened, packets
from inference.decode.frames.picking import Picker
from inference.decode.frames.timeline import Timeline
from inference.decode.options import DecodeLimits
from inference.stills.pictures import PictureEncoder, StillFormat, StillSize, rgb
from inference.stills.selection import CUT_THRESHOLD, THUMBNAIL_HEIGHT, THUMBNAIL_WIDTH, change
from inference.stills.survey import Entry, StillPart
from inference.types import Frames


@dataclass(frozen=True, slots=True)
class StillTarget:
    """Where pictures go and in which form."""

    directory: Path
    prefix: str
    still_format: StillFormat
    size: StillSize | None

    def path(self, number: int, seconds: float) -> Path:
        """Path of a picture: its number from 1 on, and the time of its frame in seconds."""
        return self.directory / f"{self.prefix}{number:06d}_{seconds:.3f}s.{self.still_format.value}"


@dataclass(slots=True)
class _Writer:
    """Writes wanted frames; a frame that could not be decoded is left to the next one, as in every decoding."""

    timeline: Timeline
    numbers: dict[int, int]  # position in the timeline -> number of the picture
    target: StillTarget
    encoder: PictureEncoder
    written: list[Path] = field(default_factory=list)

    def write(self, frame: VideoFrame, positions: Sequence[int]) -> None:
        for position in positions:
            path = self.target.path(self.numbers[position], float(self.timeline.pts_seconds[position]))
            self.encoder.write(frame, path)
            self.written.append(path)


@dataclass(slots=True)
class _Comparer:
    """Notes the frames that begin a scene: they differ from the frame before them."""

    reformatter: VideoReformatter = field(default_factory=VideoReformatter)
    before: Frames | None = None
    cuts: list[int] = field(default_factory=list)

    def write(self, frame: VideoFrame, positions: Sequence[int]) -> None:
        small = rgb(frame, THUMBNAIL_WIDTH, THUMBNAIL_HEIGHT, self.reformatter)
        if self.before is not None and change(self.before, small) >= CUT_THRESHOLD:
            self.cuts.append(positions[-1])
        self.before = small


def write_part(
    path: str, timeline: Timeline, part: StillPart, first_number: int, target: StillTarget, limits: DecodeLimits
) -> list[Path]:
    """Write the part's wanted frames as pictures, numbered from ``first_number`` on; return their paths.

    Raises:
        BadVideo: too few frames could be decoded.
        MiscountedFramesError: the decoder emits other frames than the timeline has.
        OSError: the file cannot be read, or the disk is full.
    """
    numbers = {position: first_number + place for place, position in enumerate(part.wanted.tolist())}
    writer = _Writer(timeline, numbers, target, PictureEncoder(target.still_format, target.size))
    _decode(path, timeline, part, writer, limits)
    return writer.written


def find_cuts(path: str, timeline: Timeline, part: StillPart, limits: DecodeLimits) -> list[int]:
    """Return the positions of the part's frames that begin a scene; its first frame is compared with none.

    Raises as :func:`write_part` does.
    """
    comparer = _Comparer()
    _decode(path, timeline, part, comparer, limits)
    return comparer.cuts


@dataclass(frozen=True, slots=True)
class _Shifted:
    """Passes frames on with their positions in the whole timeline."""

    sink: FrameSink
    offset: int

    def write(self, frame: VideoFrame, positions: Sequence[int]) -> None:
        self.sink.write(frame, [position + self.offset for position in positions])


def _decode(path: str, timeline: Timeline, part: StillPart, sink: FrameSink, limits: DecodeLimits) -> None:
    with _opened_at(path, part.entry, limits) as (container, stream, offset):
        ticks = None if timeline.ticks is None else timeline.ticks[offset:]
        rest = replace(timeline, pts_seconds=timeline.pts_seconds[offset:], ticks=ticks)
        picker = Picker(rest, [part.wanted - offset], limits)
        read_wanted(container, stream, rest, picker, _Shifted(sink, offset))
    picker.decoded_fraction()


@contextmanager
def _opened_at(
    path: str, entry: Entry | None, limits: DecodeLimits
) -> Iterator[tuple[InputContainer, VideoStream, int]]:
    """Open the file at the entry, or at its start where the container does not lead there, which only takes longer.

    The third value is the position at which decoding begins.
    """
    with opened(path, limits) as (container, stream):
        if entry is None or _leads_to(container, stream, entry):
            if entry is not None:
                container.seek(entry.dts, stream=stream)
            yield container, stream, entry.position if entry else 0
            return
    with opened(path, limits) as (container, stream):
        yield container, stream, 0


def _leads_to(container: InputContainer, stream: VideoStream, entry: Entry) -> bool:
    container.seek(entry.dts, stream=stream)
    first = next(packets(container, stream), None)
    return first is not None and first.pts == entry.pts
