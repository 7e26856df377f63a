"""The tunnel's protobuf: records of numbered fields, each record closed by a CRC32C over its logical values.

The CRC covers the field number as a little-endian int32 and the value (integers and datetimes as int64, doubles as
8 bytes, strings unchanged), not over the bytes on the wire. NULL is an absent field. The stream ends with the number
of records and the CRC of the records' CRCs.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from struct import calcsize, pack, unpack_from

from google_crc32c import extend
from google_crc32c import value as crc32c

from tests.servers.odps.refusals import Refusal
from tests.servers.odps.schema import Row
from tests.servers.odps.values import bytes_of, text_of

END_RECORD, COUNT, CHECKSUM = 33553408, 33554430, 33554431
KEYS = "array<bigint>"  # of the hidden columns of an upsert

_VARINT, _FIXED64, _LENGTH, _FIXED32 = 0, 1, 2, 5
_WIRE_TYPES = {
    "string": _LENGTH, "bigint": _VARINT, "int": _VARINT, "smallint": _VARINT, "tinyint": _VARINT, "boolean": _VARINT,
    "datetime": _VARINT, "float": _FIXED32,
    "double": _FIXED64, "timestamp": _LENGTH, KEYS: _LENGTH,
}  # fmt: skip
_FLOATS = {"double": "<d", "float": "<f"}
_NANOSECONDS = 1_000_000_000


def encode(types: Sequence[str], rows: Iterable[Row]) -> bytes:
    """Return the stream of these rows: field 1 has the first type, and so on."""
    stream, crcs = bytearray(), bytearray()
    for row in rows:
        crcs += pack("<I", _encode_record(stream, types, row))
    crc_of_crcs = crc32c(bytes(crcs))
    stream += _tag(COUNT, _VARINT) + _varint(_zigzag(len(crcs) // 4)) + _tag(CHECKSUM, _VARINT) + _varint(crc_of_crcs)
    return bytes(stream)


def decode(types: Sequence[str], stream: bytes) -> list[Row]:
    """Return the rows of a stream. ``Refusal`` if a checksum does not match, or the fields do not fit the types."""
    reader = _Reader(stream)
    try:
        return _decode(reader, types)
    except (IndexError, struct.error) as error:
        raise _corrupted(str(error)) from error


def _encode_record(stream: bytearray, types: Sequence[str], row: Row) -> int:
    logical = bytearray()
    for number, (kind, value) in enumerate(zip(types, row, strict=True), 1):
        if value is not None:
            wire, counted = _encode_value(kind, value)
            stream += _tag(number, _WIRE_TYPES[kind]) + wire
            logical += pack("<i", number) + counted
    crc = int(crc32c(bytes(logical)))
    stream += _tag(END_RECORD, _VARINT) + _varint(crc)
    return crc


def _encode_value(kind: str, value: object) -> tuple[bytes, bytes]:
    match kind, value:
        case "string", _:
            text = bytes_of(value)
            return _varint(len(text)) + text, text
        case "boolean", _:
            return (b"\1", b"\1") if value else (b"\0", b"\0")
        case (("double" | "float"), int() | float()):
            return (packed := pack(_FLOATS[kind], value)), packed
        case "timestamp", int():
            seconds, nanos = divmod(value, _NANOSECONDS)
            return _varint(_zigzag(seconds)) + _varint(_zigzag(nanos)), pack("<qi", seconds, nanos)
        case _, int():
            return _varint(_zigzag(value)), pack("<q", value)
    raise Refusal(400, "InvalidParameter", f"{value!r} is no {kind}")


def _decode(reader: _Reader, types: Sequence[str]) -> list[Row]:
    rows: list[Row] = []
    values: list[object] = [None] * len(types)
    logical, crc_of_crcs = bytearray(), 0
    while True:
        number, wire_type = divmod(reader.varint(), 8)
        if number == END_RECORD:
            if (crc := reader.checksum()) != crc32c(bytes(logical)):
                raise _corrupted(f"record {len(rows)} does not match its checksum")
            crc_of_crcs = extend(crc_of_crcs, pack("<I", crc))
            rows.append(tuple(values))
            values, logical = [None] * len(types), bytearray()
        elif number == COUNT:
            reader.check_end(len(rows), crc_of_crcs)
            return rows
        else:
            if not 1 <= number <= len(types) or wire_type != _WIRE_TYPES[types[number - 1]]:
                raise Refusal(400, "InvalidParameter", f"Field {number} does not fit the table's schema")
            values[number - 1], counted = reader.value(types[number - 1])
            logical += pack("<i", number) + counted


class _Reader:
    def __init__(self, stream: bytes) -> None:
        self._stream, self._place = stream, 0

    def varint(self) -> int:
        result = shift = 0
        while (byte := self._stream[self._place]) & 0x80:
            result |= (byte & 0x7F) << shift
            shift += 7
            self._place += 1
        self._place += 1
        return result | byte << shift

    def signed(self) -> int:
        number = self.varint()
        return (number >> 1) ^ -(number & 1)

    def checksum(self) -> int:
        return self.varint() & 0xFFFFFFFF  # the SDK's C writer sign-extends it to ten bytes

    def take(self, length: int) -> bytes:
        taken = self._stream[self._place : self._place + length]
        if len(taken) < length:
            raise IndexError("the stream ends within a value")
        self._place += length
        return taken

    def value(self, kind: str) -> tuple[object, bytes]:
        if kind in _FLOATS:
            packed = self.take(calcsize(_FLOATS[kind]))
            return unpack_from(_FLOATS[kind], packed)[0], packed
        match kind:
            case "string":
                text = self.take(self.varint())
                return text_of(text), text
            case "boolean":
                return (is_true := self.varint() != 0), bytes([is_true])
            case "timestamp":
                seconds, nanos = self.signed(), self.signed()
                return seconds * _NANOSECONDS + nanos, pack("<qi", seconds, nanos)
            case "array<bigint>":
                keys = [self.signed() for _ in range(self.varint()) if not self.varint()]
                return tuple(keys), pack(f"<{len(keys)}q", *keys)
        number = self.signed()
        return number, pack("<q", number)

    def check_end(self, count: int, crc_of_crcs: int) -> None:
        if self.signed() != count:
            raise _corrupted("the number of records does not match")
        if self.varint() >> 3 != CHECKSUM or self.checksum() != crc_of_crcs or self._place != len(self._stream):
            raise _corrupted("the stream does not match its checksum")


def _corrupted(why: str) -> Refusal:
    return Refusal(400, "CorruptedDataStream", f"The data stream was corrupted, please try again later: {why}")


def _tag(number: int, wire_type: int) -> bytes:
    return _varint(number << 3 | wire_type)


def _zigzag(number: int) -> int:
    return (number << 1) ^ (number >> 63)


def _varint(number: int) -> bytes:
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)
