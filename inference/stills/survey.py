"""The frames of a video at which decoding may begin, and its division among processes there."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from inference.decode.decoders.pyav import SKIPPING_CODECS
from inference.decode.decoders.source import opened, packets
from inference.decode.frames.bitstream import SYNTAXES
from inference.decode.frames.skipping import ParameterSets
from inference.decode.frames.timeline import Timeline
from inference.decode.options import DecodeLimits
from inference.types import Indices


@dataclass(frozen=True, slots=True)
class Entry:
    """A frame at which decoding may begin: every frame presented from it on is decoded whole."""

    position: int  # in the timeline
    pts: int
    dts: int


@dataclass(frozen=True, slots=True)
class Survey:
    """A video as demuxing shows it."""

    timeline: Timeline
    entries: tuple[Entry, ...]  # in time order; empty where decoding can begin at the start only


@dataclass(frozen=True, slots=True)
class StillPart:
    """Frames for one process: wanted positions of the timeline, and the entry before the first of them."""

    wanted: Indices  # ascending, not empty
    entry: Entry | None  # None: the start of the file


def survey(path: str, timeline: Timeline, limits: DecodeLimits) -> Survey:
    """Find the entries of H.264 and HEVC videos; other codecs have frames that confirm each other from the start on."""
    if timeline.ticks is None or timeline.is_decoded or timeline.clock.shifts:  # frames are counted from the start
        return Survey(timeline, ())
    with opened(path, limits) as (container, stream):
        syntax = SYNTAXES.get(timeline.codec)
        if syntax is None or timeline.codec not in SKIPPING_CODECS:
            return Survey(timeline, ())
        sets, found = ParameterSets(syntax, stream.codec_context.extradata or b""), list[tuple[int, int]]()
        for packet in packets(container, stream):
            is_entry = packet.is_keyframe and syntax.is_refresh(bytes(packet), sets.configuration)
            if is_entry and packet.pts is not None and packet.dts is not None:
                found.append((packet.pts, packet.dts))
    return Survey(timeline, tuple(_entries(timeline.ticks, found)))


def split(surveyed: Survey, wanted: Indices, processes: int) -> list[StillPart]:
    """Share the wanted frames among processes: at most one part for each, cut at entries, of about equal length.

    The parts hold every wanted frame once, in order.
    """
    count = len(surveyed.timeline.pts_seconds)
    ideal = [count * number // processes for number in range(1, processes)]
    starts = np.array([entry.position for entry in surveyed.entries], dtype=np.int64)
    cuts = sorted({int(starts[np.abs(starts - place).argmin()]) for place in ideal}) if len(starts) else []
    bounds = np.searchsorted(wanted, [0, *cuts, count])
    pieces = [wanted[first:stop] for first, stop in pairwise(bounds.tolist()) if first < stop]
    return [StillPart(piece, _entry_before(surveyed.entries, int(piece[0]))) for piece in pieces]


def _entries(ticks: Indices, found: Sequence[tuple[int, int]]) -> Iterator[Entry]:
    for pts, dts in found:
        position = int(np.searchsorted(ticks, pts))
        if position < len(ticks) and ticks[position] == pts:  # presented: no edit list removes it
            yield Entry(position, pts, dts)


def _entry_before(entries: Sequence[Entry], position: int) -> Entry | None:
    before = [entry for entry in entries if entry.position <= position]
    return before[-1] if before and before[-1].position > 0 else None
