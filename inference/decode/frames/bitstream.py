"""Reading the headers of coded pictures: NAL units, parameter sets, fields, hidden frames. Pure.

Nothing here decodes. A header that cannot be read counts as that of an ordinary picture: the decode pass compares the
frames that the decoder emits with the count made here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import Enum, auto

_START_CODE = b"\x00\x00\x01"
_CHROMA_PROFILES = frozenset({44, 83, 86, 100, 110, 118, 122, 128, 134, 135, 138, 139, 244})  # H.264 7.3.2.1.1
_SPS = 7  # ITU-T H.264 table 7-1: a sequence parameter set
_HEADER_BYTES = 256  # enough for a slice header's first fields and for a sequence parameter set with scaling lists


class Content(Enum):
    """The part of a presented frame that a packet holds."""

    FRAME = auto()
    TOP_FIELD = auto()  # half of an interlaced frame: another packet holds the other half
    BOTTOM_FIELD = auto()
    NOTHING = auto()  # no picture, or one that is not presented


FIELDS = frozenset({Content.TOP_FIELD, Content.BOTTOM_FIELD})


@dataclass(frozen=True, slots=True)
class NalSyntax:
    """The NAL units of a codec: the position of their type, and the types that matter here."""

    type_shift: int
    type_mask: int
    slices: frozenset[int]
    refreshes: frozenset[int]  # slices of an instantaneous refresh (IDR)
    parameter_sets: frozenset[int]
    pictureless: frozenset[int]  # parameter sets, messages, delimiters
    length_at: int  # offset in the decoder configuration of the size of a unit's length field

    def starts(self, packet: bytes, configuration: bytes) -> Iterator[int]:
        """Yield where each unit starts, found by lengths as in MP4 and Matroska, or by start codes."""
        length_bytes = self._length_bytes(configuration)
        return _after_lengths(packet, length_bytes) if length_bytes else _after_start_codes(packet)

    def kind(self, packet: bytes, start: int) -> int:
        """Return the type of the unit that starts there."""
        return packet[start] >> self.type_shift & self.type_mask

    def is_refresh(self, packet: bytes, configuration: bytes) -> bool:
        """Return True if no picture after this packet's picture refers to one before it."""
        kinds = (self.kind(packet, start) for start in self.starts(packet, configuration))
        return next((kind for kind in kinds if kind in self.slices), None) in self.refreshes

    def sets_of(self, packet: bytes, configuration: bytes) -> Mapping[int, frozenset[bytes]]:
        """Return the parameter sets before the packet's first slice, by the type of their units."""
        found: dict[int, frozenset[bytes]] = {}
        at = None  # of the set that is read
        for start in self.starts(packet, configuration):
            if at is not None:
                self._add(found, packet[at : start - (self._length_bytes(configuration) or len(_START_CODE))])
            kind = self.kind(packet, start)
            if kind in self.slices:
                return found
            at = start if kind in self.parameter_sets else None
        if at is not None:
            self._add(found, packet[at:])
        return found

    def _add(self, found: dict[int, frozenset[bytes]], unit: bytes) -> None:
        kind = self.kind(unit, 0)
        found[kind] = found.get(kind, frozenset()) | {unit.rstrip(b"\x00")}

    def _length_bytes(self, configuration: bytes) -> int:
        """Return the size of a unit's length field; 0 if units follow start codes."""
        has_lengths = configuration[:1] == b"\x01" and len(configuration) > self.length_at
        return (configuration[self.length_at] & 3) + 1 if has_lengths else 0


# ITU-T H.264 table 7-1 and ISO/IEC 14496-15 5.3.3 (avcC); H.265 table 7-1 and 14496-15 8.3.3 (hvcC)
SYNTAXES: Mapping[str, NalSyntax] = {
    "h264": NalSyntax(
        type_shift=0,
        type_mask=0x1F,
        slices=frozenset(range(1, 6)),
        refreshes=frozenset({5}),
        parameter_sets=frozenset({7, 8, 13, 15}),
        pictureless=frozenset(range(6, 16)),
        length_at=4,
    ),
    "hevc": NalSyntax(
        type_shift=1,
        type_mask=0x3F,
        slices=frozenset(range(32)),
        refreshes=frozenset({19, 20}),
        parameter_sets=frozenset({32, 33, 34}),
        pictureless=frozenset(range(32, 41)),
        length_at=21,
    ),
}


def content_reader(codec: str, configuration: bytes) -> Callable[[bytes], Content] | None:
    """Return a function that tells a packet's content, or None for a codec whose every packet holds a frame."""
    if codec == "h264":
        return _H264(configuration).content
    if codec == "hevc":
        return lambda packet: _hevc_content(packet, configuration)
    return {"vp8": _vp8_content, "vp9": _vp9_content, "mpeg2video": _mpeg2_content}.get(codec)


@dataclass(slots=True)
class _H264:
    """The latest sequence parameter set, with which a slice shows if its picture is a field (ITU-T H.264 7.3.3)."""

    configuration: bytes
    _sequence: tuple[int, bool] | None = field(init=False, default=None)  # bits of frame_num; has colour planes

    def __post_init__(self) -> None:
        if self.configuration[:1] == b"\x01" and len(self.configuration) > 8:  # avcC: the first set follows its length
            self._sequence = _interlaced_sequence(self.configuration[8:])
        else:
            self.content(self.configuration)

    def content(self, packet: bytes) -> Content:
        syntax, parities, has_units = SYNTAXES["h264"], set[int | None](), False
        for start in syntax.starts(packet, self.configuration):
            kind = syntax.kind(packet, start)
            if kind == _SPS:
                self._sequence = _interlaced_sequence(packet[start : start + _HEADER_BYTES])
            elif kind in syntax.slices:
                if self._sequence is None:
                    return Content.FRAME
                parities.add(_parity(packet[start : start + _HEADER_BYTES], *self._sequence))
            elif kind not in syntax.pictureless:  # damage
                return Content.FRAME
            has_units = True
        if not parities:
            return Content.NOTHING if has_units else Content.FRAME
        if parities == {0}:
            return Content.TOP_FIELD
        return Content.BOTTOM_FIELD if parities == {1} else Content.FRAME


def _interlaced_sequence(unit: bytes) -> tuple[int, bool] | None:
    """Return the bits of frame_num and whether planes are coded separately; None if every picture is a frame."""
    bits = _Bits(unit[1:_HEADER_BYTES])
    try:
        profile = bits.u(8)
        bits.u(16)
        bits.ue()
        has_planes = _skip_chroma(bits) if profile in _CHROMA_PROFILES else False
        frame_num_bits = bits.ue() + 4
        order_type = bits.ue()
        if order_type == 0:
            bits.ue()
        elif order_type == 1:
            bits.u(1)
            for _ in range(2):
                bits.ue()
            for _ in range(bits.ue()):
                bits.ue()
        bits.ue()
        bits.u(1)
        bits.ue()
        bits.ue()
        return None if bits.u(1) else (frame_num_bits, has_planes)
    except ValueError:
        return None


def _skip_chroma(bits: _Bits) -> bool:
    chroma_format = bits.ue()
    has_planes = bool(chroma_format == 3 and bits.u(1))
    bits.ue()
    bits.ue()
    bits.u(1)
    if bits.u(1):
        for number in range(12 if chroma_format == 3 else 8):
            if bits.u(1):
                _skip_scaling_list(bits, 16 if number < 6 else 64)
    return has_planes


def _skip_scaling_list(bits: _Bits, size: int) -> None:
    last, following = 8, 8
    for _ in range(size):
        if following:
            following = (last + bits.se()) % 256
        last = following or last


def _parity(unit: bytes, frame_num_bits: int, has_planes: bool) -> int | None:
    """Return 0 for a slice of a top field, 1 for one of a bottom field, None for one of a frame."""
    bits = _Bits(unit[1:_HEADER_BYTES])
    try:
        for _ in range(3):
            bits.ue()
        bits.u(2 * has_planes + frame_num_bits)
        is_field = bits.u(1)
        return bits.u(1) if is_field else None
    except ValueError:
        return None


class _Bits:
    """Bits of a unit, after its emulation prevention bytes are removed. Raises ValueError at the end."""

    def __init__(self, data: bytes) -> None:
        plain = data.replace(b"\x00\x00\x03", b"\x00\x00")
        self._bits = format(int.from_bytes(b"\x01" + plain), "b")[1:]  # the 1 keeps leading zeros
        self._at = 0

    def u(self, count: int) -> int:
        """Read an unsigned number of ``count`` bits."""
        read = self._bits[self._at : self._at + count]
        if len(read) < count:
            raise ValueError("the unit ends")
        self._at += count
        return int(read or "0", 2)

    def ue(self) -> int:
        """Read an unsigned Exp-Golomb number (ITU-T H.264 9.1)."""
        zeros = self._bits.index("1", self._at) - self._at
        self._at += zeros
        return self.u(zeros + 1) - 1

    def se(self) -> int:
        """Read a signed Exp-Golomb number (ITU-T H.264 9.1.1)."""
        number = self.ue()
        return (number + 1) // 2 if number % 2 else -(number // 2)


def _hevc_content(packet: bytes, configuration: bytes) -> Content:
    """Return NOTHING for parameter sets or messages alone. Each field is a picture, which FFmpeg emits as a frame."""
    syntax = SYNTAXES["hevc"]
    kind = None
    for start in syntax.starts(packet, configuration):
        kind = syntax.kind(packet, start)
        if kind not in syntax.pictureless:
            return Content.FRAME
    return Content.FRAME if kind is None else Content.NOTHING


def _mpeg2_content(packet: bytes) -> Content:
    """Read picture_structure of every picture coding extension (ITU-T H.262 6.2.3.1)."""
    extensions = _found(packet, b"\x00\x00\x01\xb5")
    structures = [packet[at + 6] & 3 for at in extensions if packet[at + 4] >> 4 == 8]
    if structures == [1]:
        return Content.TOP_FIELD
    return Content.BOTTOM_FIELD if structures == [2] else Content.FRAME


def _vp8_content(packet: bytes) -> Content:
    """Read show_frame (RFC 6386 9.1)."""
    return Content.FRAME if packet[0] & 0x10 else Content.NOTHING


def _vp9_content(packet: bytes) -> Content:
    """Return NOTHING if no frame of the superframe is shown (VP9 bitstream specification, annex B and 7.2)."""
    return Content.FRAME if any(_vp9_is_shown(frame) for frame in _vp9_frames(packet)) else Content.NOTHING


def _vp9_frames(packet: bytes) -> Iterator[bytes]:
    marker = packet[-1]
    count, size_bytes = (marker & 7) + 1, (marker >> 3 & 3) + 1
    index_bytes = 2 + count * size_bytes
    if marker & 0xE0 != 0xC0 or packet[-index_bytes : -index_bytes + 1] != bytes([marker]):
        yield packet
        return
    at = 0
    for number in range(count):
        start = len(packet) - index_bytes + 1 + number * size_bytes
        size = int.from_bytes(packet[start : start + size_bytes], "little")
        yield packet[at : at + size]
        at += size


def _vp9_is_shown(frame: bytes) -> bool:
    bits = _Bits(frame[:2])
    try:
        bits.u(2)
        profile = bits.u(1) + 2 * bits.u(1)
        bits.u(profile == 3)
        shows_existing = bits.u(1)
        bits.u(1)
        return bool(shows_existing or bits.u(1))
    except ValueError:
        return True


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


def _found(packet: bytes, code: bytes) -> Iterator[int]:
    at = packet.find(code)
    while 0 <= at < len(packet) - 6:
        yield at
        at = packet.find(code, at + len(code))
