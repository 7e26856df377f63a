"""Skipping packets on which no wanted frame depends. Pure.

A closed group of pictures refers to no picture before it. So the packets after the last wanted frame of a group, in
decoding order, need no decoding if the next group is closed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Protocol, TypeVar

from inference.decode.frames.bitstream import NalSyntax

HELD_BYTES = 32 << 20  # a group may be as long as the video


class Packet(Protocol):
    """The part of a packet that is read here."""

    @property
    def size(self) -> int:
        """Bytes."""


P = TypeVar("P", bound=Packet)


def needed(
    packets: Iterable[P],
    is_wanted: Callable[[P], bool],
    wanted: int,
    begins_closed_group: Callable[[P], bool],
    changes_state: Callable[[P], bool],
) -> Iterator[P]:
    """Yield packets in order up to the last wanted one, without the unwanted end of any group before a closed group.

    Packets are held, up to ``HELD_BYTES``, until a later packet of their group is wanted or the next group begins. A
    packet that changes the decoder's state (new parameter sets) is never skipped, nor what its group holds before it.
    """
    held: list[P] = []
    held_bytes = 0
    for packet in packets:
        if begins_closed_group(packet):
            held, held_bytes = [], 0
        held.append(packet)
        held_bytes += packet.size
        is_wanted_packet = is_wanted(packet)
        if changes_state(packet) or is_wanted_packet or held_bytes > HELD_BYTES:
            yield from held
            held, held_bytes = [], 0
        if is_wanted_packet and (wanted := wanted - 1) == 0:
            return


class ParameterSets:
    """The parameter sets that a decoder was given last, in the packets of one stream."""

    def __init__(self, syntax: NalSyntax, configuration: bytes) -> None:
        self._syntax = syntax
        self._configuration = configuration
        self._latest: dict[int, frozenset[bytes]] = {}

    @property
    def configuration(self) -> bytes:
        """The decoder configuration that is valid for the latest packet."""
        return self._configuration

    def are_changed_by(self, packet: bytes, new_configuration: bytes | None) -> bool:
        """Return True if the packet holds sets other than the latest, which then become the latest."""
        if new_configuration is not None:
            self._configuration = new_configuration
        changed = {
            kind: sets
            for kind, sets in self._syntax.sets_of(packet, self._configuration).items()
            if not sets <= self._latest.get(kind, frozenset())
        }
        self._latest.update(changed)
        return bool(changed) or new_configuration is not None
