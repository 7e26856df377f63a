"""The share of a file's announced bytes that the file holds: below 1, its end is missing.

Only bytes count. A header's duration, or a slot of an index without a picture, is no lost frame: a screen recording
stops changing before it stops, and a slide is shown for seconds.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import BinaryIO

from av.container import InputContainer
from av.video.stream import VideoStream

_HEAD_BYTES = 1 << 16  # where FLV and ASF keep the properties of the file
_SLACK_BYTES = 16  # some writers count a trailing field or padding differently
_SEGMENT_ID = b"\x18\x53\x80\x67"  # Matroska, RFC 9559 5.1
_EBML_ID = b"\x1a\x45\xdf\xa3"  # RFC 8794 11.2.1
_FLV_SIZE = b"\x00\x08filesize\x00"  # AMF 0: the key's length, the key, the marker of a number
_ASF_FILE_PROPERTIES = bytes.fromhex("a1dcab8c47a9cf118ee400c00c205365")  # ASF specification 3.2
_ASF_BROADCAST = 1


def readable_fraction(path: str, container: InputContainer, stream: VideoStream) -> float:
    """Return the share from 0 to 1; 1 if the format announces no size. Call it after the file was demuxed."""
    size_bytes = Path(path).stat().st_size
    announce = _ANNOUNCED.get(container.format.name)
    if announce is None:
        return 1.0
    if announce is _fragments_bytes and (fraction := _indexed_fraction(stream, size_bytes)) < 1:
        return fraction
    with Path(path).open("rb") as file:
        announced_bytes = announce(file, size_bytes)
    if announced_bytes is None or announced_bytes <= size_bytes + _SLACK_BYTES:
        return 1.0
    return size_bytes / announced_bytes


def _indexed_fraction(stream: VideoStream, size_bytes: int) -> float:
    """Return the share of the index's samples that end within the file."""
    entries = stream.index_entries
    if not len(entries) or entries[-1].pos + entries[-1].size <= size_bytes:
        return 1.0
    ends = [entry.pos + entry.size for entry in entries if entry.size]
    return sum(end <= size_bytes for end in ends) / len(ends)


def _fragments_bytes(file: BinaryIO, size_bytes: int) -> int | None:
    """Return the end of the last box of a fragmented MP4 (ISO/IEC 14496-12 4.2); None if it has no fragments."""
    end, is_fragmented = 0, False
    while end < size_bytes:
        file.seek(end)
        head = file.read(16).ljust(16, b"\0")
        length, kind = int.from_bytes(head[:4], "big"), head[4:8]
        is_fragmented |= kind == b"moof"
        length = int.from_bytes(head[8:], "big") if length == 1 else length
        if length < 8:  # 0: up to the end of the file
            return None
        end += length
    return end if is_fragmented else None


def _matroska_bytes(file: BinaryIO, _size_bytes: int) -> int | None:
    """Return the end of the segment; None if it is of unknown size, as that of a live recording."""
    head = file.read(_HEAD_BYTES)
    if not head.startswith(_EBML_ID):
        return None
    at, size = _ebml_size(head, len(_EBML_ID))
    at += size or 0
    if head[at : at + len(_SEGMENT_ID)] != _SEGMENT_ID:
        return None
    at, size = _ebml_size(head, at + len(_SEGMENT_ID))
    return None if size is None else at + size


def _ebml_size(head: bytes, at: int) -> tuple[int, int | None]:
    """Return the end of a size field, and the size; None if it is unknown: all bits are 1 (RFC 8794 6)."""
    length = 9 - head[at].bit_length()
    size = int.from_bytes(head[at : at + length], "big") & ((1 << 7 * length) - 1)
    return at + length, None if size == (1 << 7 * length) - 1 else size


def _riff_bytes(file: BinaryIO, size_bytes: int) -> int | None:
    """Return the end of the last RIFF chunk: long AVI files have several. None if a size was never filled in."""
    end = 0
    while end < size_bytes:
        file.seek(end)
        kind, length = file.read(4), int.from_bytes(file.read(4), "little")
        if kind != b"RIFF":
            break
        if length in {0, 0xFFFFFFFF}:
            return None
        end += 8 + length + length % 2
    return end or None


def _flv_bytes(file: BinaryIO, _size_bytes: int) -> int | None:
    _, key, rest = file.read(_HEAD_BYTES).partition(_FLV_SIZE)
    if not key or len(rest) < 8:
        return None
    (announced,) = struct.unpack_from(">d", rest)
    return int(announced) if math.isfinite(announced) and announced > 0 else None


def _asf_bytes(file: BinaryIO, _size_bytes: int) -> int | None:
    _, guid, rest = file.read(_HEAD_BYTES).partition(_ASF_FILE_PROPERTIES)
    if not guid or len(rest) < 76:
        return None
    announced, flags = struct.unpack_from("<24xQ40xI", rest)  # after the object's size and the file's id
    return None if flags & _ASF_BROADCAST else announced or None


_ANNOUNCED: Mapping[str, Callable[[BinaryIO, int], int | None]] = {
    "mov,mp4,m4a,3gp,3g2,mj2": _fragments_bytes,
    "matroska,webm": _matroska_bytes,
    "avi": _riff_bytes,
    "flv": _flv_bytes,
    "asf": _asf_bytes,
}
