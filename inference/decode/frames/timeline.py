"""The times at which the frames of a video are presented, computed from its packets. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from inference.decode.frames.clock import UNREPAIRED, ClockRepair
from inference.types import Indices, PacketFacts, Seconds, VideoProbe

_JUMP_BACK_SECONDS = 5.0  # no codec reorders frames further: a larger step back means that the clock was reset
_GLITCH_SECONDS = 0.5  # a decoder emits in the order of presentation: a smaller step back is a wrong timestamp
_FALLBACK_RATE = Fraction(25)  # elementary streams may declare no rate at all


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeline:
    """Every presented frame of a video, in presentation order, counted from packets or by decoding."""

    container: str
    codec: str
    width: int  # pixels, before rotation
    height: int
    pts_seconds: Seconds  # shape (frames,), ascending from 0
    duration_seconds: float
    ticks: Indices | None  # shape (frames,): the pts that identifies a frame; None: frames are counted
    readable_fraction: float  # of what the container announces: below 1, the end of the file is missing
    origin_seconds: float = 0.0  # of the first frame, by the file's clock after its repair
    clock: ClockRepair = UNREPAIRED
    is_decoded: bool = False  # counted by decoding: the frames are those that the decoder emits
    has_fields: bool = False  # packets hold single fields: a frame needs the packet after its own, too
    needs_decoding: bool = False  # the packets do not show the times of the frames
    bytes_per_second: tuple[int, ...] = ()  # of the video's packets

    def probed(
        self, width: int, height: int, rotation_degrees: int, size_bytes: int, *, is_interlaced: bool
    ) -> VideoProbe:
        """Return the properties of the video; width and height are of the upright, presented picture, in pixels."""
        return VideoProbe(
            container=self.container,
            codec=self.codec,
            width=width,
            height=height,
            rotation_degrees=rotation_degrees,
            frame_count=len(self.pts_seconds),
            duration_seconds=self.duration_seconds,
            size_bytes=size_bytes,
            is_interlaced=is_interlaced,
            packets=self._packets(),
        )

    def _packets(self) -> PacketFacts:
        shown = np.bincount(self.pts_seconds.astype(np.int64), minlength=len(self.bytes_per_second))
        return PacketFacts(self.bytes_per_second, tuple(shown.tolist()), self.width * self.height)


@dataclass(frozen=True, slots=True)
class Presentation:
    """The times of a :class:`Timeline`."""

    pts_seconds: Seconds
    duration_seconds: float
    origin_seconds: float
    ticks: Indices | None
    is_guessed: bool  # the times are those of a constant frame rate


class MiscountedFramesError(Exception):
    """The decoder emits other frames than were counted from the packets; see :attr:`Timeline.is_decoded`."""


def present(
    pts: Sequence[int | None],
    dts: Sequence[int | None],
    *,
    time_base: Fraction,
    rate: Fraction | None,
    has_true_pts: bool = True,
) -> Presentation:
    """Order the presented packets' timestamps.

    Frames are identified by pts where every pts is present, unique and never set back by seconds. Otherwise
    they are counted as the decoder emits them, at the times of the dts, or at a constant rate.

    >>> shown = present([0, 3, 1, 2], [0, 1, 2, 3], time_base=Fraction(1, 25), rate=None)
    >>> shown.ticks.tolist(), shown.pts_seconds.tolist(), shown.duration_seconds
    ([0, 1, 2, 3], [0.0, 0.04, 0.08, 0.12], 0.16)
    """
    ticks = _trusted(pts, time_base) if has_true_pts else None
    clock = ticks if ticks is not None else _trusted(dts, time_base)
    seconds = _at_constant_rate(len(pts), rate) if clock is None else _to_seconds(clock, time_base)
    return _presentation(seconds, rate, ticks, is_guessed=clock is None)


def present_emitted(
    pts: Sequence[int | None],
    dts: Sequence[int | None],
    *,
    time_base: Fraction,
    rate: Fraction | None,
    has_true_pts: bool = True,
) -> Presentation:
    """Give times to frames in the order in which a decoder emits them, which is that of their presentation.

    >>> present_emitted([0, 2, None, 6, 8, 3], [], time_base=Fraction(1), rate=None).pts_seconds.tolist()
    [0.0, 2.0, 4.0, 6.0, 8.0, 10.0]
    """
    if has_true_pts:
        seconds = _ascending([None if stamp is None else float(stamp * time_base) for stamp in pts], rate)
    else:
        clock = _trusted(dts, time_base)
        seconds = _at_constant_rate(len(pts), rate) if clock is None else _to_seconds(clock, time_base)
    return _presentation(seconds, rate, None, is_guessed=False)


def _presentation(seconds: Seconds, rate: Fraction | None, ticks: Indices | None, *, is_guessed: bool) -> Presentation:
    pts_seconds = seconds - seconds[0]
    duration_seconds = float(pts_seconds[-1]) + _frame_seconds(pts_seconds, rate)
    return Presentation(pts_seconds, duration_seconds, float(seconds[0]), ticks, is_guessed)


def _ascending(moments: Sequence[float | None], rate: Fraction | None) -> Seconds:
    """Spread frames evenly where a time is missing, repeated or slightly set back; continue after a larger jump."""
    numbers: list[int] = []
    seconds: list[float] = []
    shift = 0.0
    for number, moment in enumerate(moments):
        if moment is None:
            continue
        if seconds and moment + shift <= seconds[-1]:
            if moment + shift > seconds[-1] - _GLITCH_SECONDS:
                continue
            shift = seconds[-1] + _pace(numbers, seconds, rate) * (number - numbers[-1]) - moment
        numbers.append(number)
        seconds.append(moment + shift)
    if not numbers:
        return _at_constant_rate(len(moments), rate)
    pace, every = _pace(numbers, seconds, rate), np.arange(len(moments))
    before, after = np.minimum(every - numbers[0], 0), np.maximum(every - numbers[-1], 0)
    return np.interp(every, numbers, seconds) + pace * (before + after)


def _pace(numbers: Sequence[int], seconds: Sequence[float], rate: Fraction | None) -> float:
    """Return the usual seconds from one frame to the next."""
    if len(numbers) < 2:
        return float(1 / (rate or _FALLBACK_RATE))
    return float(np.median(np.diff(seconds) / np.diff(numbers)))


def _trusted(stamps: Sequence[int | None], time_base: Fraction) -> Indices | None:
    known = [stamp for stamp in stamps if stamp is not None]
    if len(known) < len(stamps):
        return None
    in_file = np.array(known, dtype=np.int64)
    set_back = np.maximum.accumulate(in_file) - in_file
    ordered = np.unique(in_file)
    if len(ordered) < len(in_file) or set_back.max() * time_base > _JUMP_BACK_SECONDS:
        return None
    return ordered


def _to_seconds(ticks: Indices, time_base: Fraction) -> Seconds:
    return ticks.astype(np.float64) * float(time_base)


def _at_constant_rate(count: int, rate: Fraction | None) -> Seconds:
    return np.arange(count, dtype=np.float64) / float(rate or _FALLBACK_RATE)


def _frame_seconds(pts_seconds: Seconds, rate: Fraction | None) -> float:
    """Return the duration of the last frame: the median of the others."""
    if len(pts_seconds) > 1:
        return float(np.median(np.diff(pts_seconds)))
    return float(1 / (rate or _FALLBACK_RATE))
