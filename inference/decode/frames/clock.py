"""Timestamps whose clock jumps: recordings over an encoder's restart, a lost signal or an inserted advertisement. Pure.

Each part between two jumps is an *epoch*. Its timestamps are shifted so that it continues where the epoch before it
ends; all streams of a file share the shift of an epoch, so that sound stays with its pictures.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
import numpy.typing as npt

from inference.types import Indices, Seconds

_LEAP_STEPS = 50  # a gap of fewer usual steps is no leap: a slide show's frames are far apart
_DERIVED_SLACK_SECONDS = 0.5  # FFmpeg derives the dts of some formats, and may correct it by a few frames
_SAME_JUMP_SECONDS = 1.0  # two streams that jump by so nearly the same amount belong to one epoch
_LOOK_AHEAD = 32  # packets: further than frames are reordered
_NEAR_SECONDS = 10.0  # timestamps of one epoch, within so few packets
_SHARED = 8  # of the latest shifts, one may belong to another stream

Shifts = Sequence[tuple[int, float]]  # from which of a stream's packets on, and by how many seconds


@dataclass(frozen=True, slots=True)
class ClockRepair:
    """The shifts of each stream's timestamps, by its index."""

    shifts: Mapping[int, Shifts] = field(default_factory=dict)

    def ticks(self, stream: int, number: int, seconds_per_tick: float) -> int:
        """Return the ticks to add to the timestamps of a stream's packet with that number."""
        shifts = self.shifts.get(stream, ())
        begun = bisect_right(shifts, number, key=lambda shift: shift[0])
        return round(shifts[begun - 1][1] / seconds_per_tick) if begun else 0


UNREPAIRED: Final = ClockRepair()


@dataclass(frozen=True, slots=True)
class Stamps:
    """The timestamps of all packets in file order, in seconds; NaN where a packet has none."""

    stream: Indices
    pts: Seconds
    dts: Seconds
    is_key: npt.NDArray[np.bool_]  # True for keyframes of the video stream


@dataclass(slots=True)
class _Stream:
    number: int = 0  # of packets so far
    shift: float = 0.0
    last_dts: float = np.nan
    latest_pts: float = -np.inf


def repair(stamps: Stamps, *, leap_seconds: float, has_derived_dts: bool) -> ClockRepair:
    """Find the jumps of all streams, and the shifts after them.

    A jump is a dts that goes back, a keyframe presented before a frame that precedes it in the file, which no codec
    allows, or a dts by more than ``leap_seconds`` beyond those of every stream.

    >>> seconds, is_key = np.array([60.0, 60.1, 60.2, 1.0, 1.1]), np.zeros(5, bool)
    >>> repair(Stamps(np.zeros(5, int), seconds, seconds, is_key), leap_seconds=10, has_derived_dts=False).shifts
    {0: [(3, 59.3)]}
    """
    order = stamps.dts
    steps = {int(stream): _typical_step(order[stamps.stream == stream]) for stream in np.unique(stamps.stream)}
    slack = {stream: _DERIVED_SLACK_SECONDS if has_derived_dts else step for stream, step in steps.items()}
    leap = {stream: max(leap_seconds, _LEAP_STEPS * step) for stream, step in steps.items()}
    is_sound = not any(_may_jump(order[stamps.stream == stream], slack[stream], leap[stream]) for stream in steps)
    if is_sound and not _has_early_key(stamps):
        return UNREPAIRED
    return ClockRepair(_shifts(stamps, order, steps, slack, leap))


def _typical_step(order: Seconds) -> float:
    """Return the median distance of one stream's packets."""
    distances = np.diff(order[~np.isnan(order)])
    forward = distances[distances > 0]
    return float(np.median(forward)) if len(forward) else 0.0


def _may_jump(order: Seconds, slack: float, leap: float) -> bool:
    distances = np.diff(order[~np.isnan(order)])
    return bool((distances < -slack).any() or (distances > leap).any())


def _has_early_key(stamps: Stamps) -> bool:
    """Return True if a keyframe is presented before, or with, a frame that precedes it in the file."""
    if not stamps.is_key.any():
        return False
    own = stamps.stream == stamps.stream[stamps.is_key][0]
    pts, is_key = np.nan_to_num(stamps.pts[own], nan=-np.inf), stamps.is_key[own]
    highest_before = np.maximum.accumulate(pts)[:-1]
    return bool((is_key[1:] & np.isfinite(pts[1:]) & (pts[1:] <= highest_before)).any())


def _shifts(
    stamps: Stamps, order: Seconds, steps: Mapping[int, float], slack: Mapping[int, float], leap: Mapping[int, float]
) -> dict[int, list[tuple[int, float]]]:
    streams = {index: _Stream() for index in steps}
    packets_of = {index: np.flatnonzero(stamps.stream == index) for index in steps}
    found: dict[int, list[tuple[int, float]]] = {}
    known: list[float] = []
    latest = np.nan
    packets = zip(*(column.tolist() for column in (stamps.stream, order, stamps.pts, stamps.is_key)), strict=True)
    for index, dts, pts, is_key in packets:
        stream = streams[index]
        moment = dts + stream.shift
        is_back = moment < stream.last_dts - slack[index] or (is_key and pts + stream.shift <= stream.latest_pts)
        if is_back or (stream.number and moment > latest + leap[index]):
            ahead = packets_of[index][stream.number : stream.number + _LOOK_AHEAD]
            start = _start(stamps.pts[ahead], order[ahead], slack[index])
            own = found.setdefault(index, [])
            used = {shift for _, shift in own[-_SHARED:]}
            others = [shift for shift in known[-_SHARED:] if shift not in used]
            stream.shift = _shared_shift(start, stream.latest_pts + steps[index], steps[index], others)
            if stream.shift not in others:
                known.append(stream.shift)
            own.append((stream.number, stream.shift))
            moment = dts + stream.shift
        stream.number += 1
        if not math.isnan(moment):
            stream.last_dts, latest = moment, np.fmax(latest, moment)
            stream.latest_pts = max(stream.latest_pts, np.fmax(pts, dts) + stream.shift)
    return found


def _start(pts: Seconds, dts: Seconds, slack: float) -> float:
    """Return the time at which an epoch is first presented, from the timestamps of its first packets."""
    ends = np.flatnonzero(np.diff(dts) < -slack)
    own = pts[: ends[0] + 1] if len(ends) else pts
    near = own[np.abs(own - dts[0]) < _NEAR_SECONDS]
    return float(near.min()) if len(near) else float(dts[0])


def _shared_shift(start: float, end: float, step: float, others: Sequence[float]) -> float:
    """Return the shift of an epoch: that of another stream if it leaves hardly a gap, or one that leaves none."""
    for shift in others:
        if -step < start + shift - end < _SAME_JUMP_SECONDS:
            return shift
    return round(float(end - start), 9)
