"""Skipping packets on which no wanted frame depends. Pure.

A closed group of pictures refers to no picture before it. So the packets after the last wanted frame of a group, in
decoding order, need no decoding if the next group is closed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol, TypeVar

HELD_BYTES = 32 << 20  # a group may be as long as the video
_START_CODE = b"\x00\x00\x01"


class Packet(Protocol):
    """The part of a packet that is read here."""

    @property
    def size(self) -> int:
        """Bytes."""


P = TypeVar("P", bound=Packet)


def needed(
    packets: Iterable[P], is_wanted: Callable[[P], bool], wanted: int, begins_closed_group: Callable[[P], bool]
) -> Iterator[P]:
    """Yield packets in order up to the last wanted one, without the unwanted end of any group before a closed group.

    Packets are held, up to ``HELD_BYTES``, until a later packet of their group is wanted or the next group begins.
    """
    held: list[P] = []
    held_bytes = 0
    for packet in packets:
        if begins_closed_group(packet):
            held, held_bytes = [], 0
        held.append(packet)
        held_bytes += packet.size
        is_wanted_packet = is_wanted(packet)
        if is_wanted_packet or held_bytes > HELD_BYTES:
            yield from held
            held, held_bytes = [], 0
        if is_wanted_packet and (wanted := wanted - 1) == 0:
            return


@dataclass(frozen=True, slots=True)
class NalSyntax:
    """The NAL units of a codec: the position of their type, and the types of slices and of refreshes (IDR)."""

    type_shift: int
    type_mask: int
    slices: frozenset[int]
    refreshes: frozenset[int]
    length_at: int  # offset in the decoder configuration of the size of a unit's length field

    def unit_types(self, packet: bytes, configuration: bytes) -> Iterator[int]:
        """Yield the units' types, from lengths as MP4 and Matroska write them or from start codes."""
        if configuration[:1] == b"\x01" and len(configuration) > self.length_at:
            starts = _after_lengths(packet, (configuration[self.length_at] & 3) + 1)
        else:
            starts = _after_start_codes(packet)
        return (packet[start] >> self.type_shift & self.type_mask for start in starts)

    def is_refresh(self, packet: bytes, configuration: bytes) -> bool:
        """Return True if no picture after this packet's picture refers to one before it."""
        types = self.unit_types(packet, configuration)
        return next((kind for kind in types if kind in self.slices), None) in self.refreshes


# ITU-T H.264 table 7-1 and ISO/IEC 14496-15 5.3.3 (avcC); H.265 table 7-1 and 14496-15 8.3.3 (hvcC)
SYNTAXES: Mapping[str, NalSyntax] = {
    "h264": NalSyntax(0, 0x1F, frozenset(range(1, 6)), frozenset({5}), length_at=4),
    "hevc": NalSyntax(1, 0x3F, frozenset(range(32)), frozenset({19, 20}), length_at=21),
}


def _after_lengths(packet: bytes, length_bytes: int) -> Iterator[int]:
    start = length_bytes
    while start < len(packet):
        yield start
        start += int.from_bytes(packet[start - length_bytes : start], "big") + length_bytes


def _after_start_codes(packet: bytes) -> Iterator[int]:
    start = packet.find(_START_CODE) + len(_START_CODE)
    while len(_START_CODE) <= start < len(packet):
        yield start
        start = packet.find(_START_CODE, start) + len(_START_CODE)
