"""Sound videos of unusual build: clocks that jump, hidden frames, headers that change, slides, several edits.

Each maker writes one file of 25 frames a second, unless it says otherwise; frames carry their numbers in their pixels.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any

import av

from inference.types import Frames
from tests.media import HEIGHT, WIDTH, painted, write_clip

COUNT = 120
SLIDES = (0, 1, 2, 3)
AV1 = {"preset": "10", "crf": "1", "svtav1-params": "lp=1"}
VP9 = {"deadline": "realtime", "cpu-used": "8"}
_CLOSED = "log-level=none:keyint=10:min-keyint=10:scenecut=0:bframes=0"


def write_jumping(path: Path, starts_milliseconds: Sequence[int], counts: Sequence[int]) -> None:
    """A transport stream in parts whose clocks start at the given times; part n shows numbers from 1000 n."""
    whole = b""
    for part, (start, count) in enumerate(zip(starts_milliseconds, counts, strict=True)):
        pts = range(start, start + 40 * count, 40)
        own_clock = {"avoid_negative_ts": "disabled"}
        written = write_clip(
            path, count, container_options=own_clock, pts=pts, paint=partial(_painted_from, 1000 * part)
        )
        whole += written.read_bytes()
    path.write_bytes(whole)


def _painted_from(first: int, number: int) -> Frames:
    return painted(first + number)


def _flv_tag(milliseconds: int, body: bytes) -> bytes:
    head = b"\x09" + len(body).to_bytes(3, "big") + milliseconds.to_bytes(3, "big") + bytes(4)
    return head + body + (11 + len(body)).to_bytes(4, "big")


def write_new_header(path: Path, *, has_new_lengths: bool = False) -> None:
    """A live stream in FLV whose encoder came back in another size: its header stands once, in the middle.

    With new lengths, the second encoder writes the lengths of units in two bytes in place of four.
    """
    written, milliseconds = b"FLV\x01\x01\x00\x00\x00\x09" + bytes(4), 0
    for first, size in ((0, (WIDTH, HEIGHT)), (60, (192, 160))):
        is_short = has_new_lengths and first > 0
        paint = partial(_painted_in, first, size)
        options = {"x264-params": _CLOSED}
        part = write_clip(path.with_suffix(f".{first}.mp4"), 60, codec_options=options, paint=paint)
        with av.open(str(part)) as opened:
            configuration = bytearray(opened.streams.video[0].codec_context.extradata or b"")
            if is_short:
                configuration[4] = 0xFD  # ISO/IEC 14496-15 5.3.3: lengthSizeMinusOne is 1
            written += _flv_tag(milliseconds, b"\x17\x00\x00\x00\x00" + configuration)
            for packet in opened.demux(video=0):
                if packet.size:
                    kind = b"\x17" if packet.is_keyframe else b"\x27"
                    data = _with_short_lengths(packet) if is_short else bytes(packet)
                    written += _flv_tag(milliseconds, kind + b"\x01\x00\x00\x00" + data)
                    milliseconds += 40
    path.write_bytes(written)


def _with_short_lengths(packet: av.Packet[Any]) -> bytes:
    data, rewritten, at = bytes(packet), b"", 0
    while at < len(data):
        length = int.from_bytes(data[at : at + 4], "big")
        rewritten += length.to_bytes(2, "big") + data[at + 4 : at + 4 + length]
        at += 4 + length
    return rewritten


def _painted_in(first: int, size: tuple[int, int], number: int) -> Frames:
    return painted(first + number, *size)


def write_static_end(path: Path) -> None:
    """A screen recording: its header says 10 s, its last picture is shown after 1.9 s, and its rate is unknown."""
    write_clip(path, 30, codec="libvpx", codec_options=VP9, pts=range(0, 30 * 66, 66))
    written = bytearray(path.read_bytes())
    at = written.index(b"\x44\x89\x88") + 3  # Segment, Info, Duration: float64 milliseconds
    written[at : at + 8] = struct.pack(">d", 10_000.0)
    if (at := written.find(b"\x23\xe3\x83")) >= 0:  # DefaultDuration becomes a Void element of the same length
        size = written[at + 3] & 0x7F
        written[at : at + 4 + size] = b"\xec" + bytes([0x80 | 2 + size]) + bytes(2 + size)
    path.write_bytes(written)


def write_slides(path: Path, codec: str = "libx264", seconds: int = 5) -> None:
    """Four pictures, each shown for some seconds."""
    write_clip(path, len(SLIDES), codec=codec, pts=[1000 * seconds * number for number in SLIDES])


def _rewritten(whole: Path, path: Path, packets_of: Callable[[int, bytes, bool], Sequence[bytes]]) -> None:
    """Copy a video of 25 frames a second with each packet, by its number, replaced by those that a function returns."""
    with av.open(str(whole)) as source, av.open(str(path), "w") as output:
        copied = output.add_stream_from_template(source.streams.video[0], opaque=True)
        for number, packet in enumerate(packet for packet in source.demux(video=0) if packet.size):
            parts = packets_of(number, bytes(packet), packet.is_keyframe)
            for part, data in enumerate(parts):
                replacing = av.Packet(data)
                replacing.stream, replacing.time_base = copied, Fraction(1, 1000)
                replacing.pts = replacing.dts = 40 * number - (len(parts) - 1 - part)  # the last one is shown
                replacing.is_keyframe = packet.is_keyframe and part == 0
                output.mux(replacing)


def write_vp8_hidden(path: Path) -> None:
    """Every tenth frame is not shown, as alternate references are not."""

    def hide(number: int, data: bytes, _is_key: bool) -> list[bytes]:
        return [bytes([data[0] & ~0x10]) + data[1:] if number % 10 == 4 else data]  # show_frame, RFC 6386 9.1

    whole = write_clip(path.with_suffix(".whole.webm"), COUNT, codec="libvpx", codec_options=VP9)
    _rewritten(whole, path, hide)


def write_vp9_hidden(path: Path) -> None:
    """Every keyframe is hidden, and shown by a packet of its own: show_existing_frame of slot 0."""

    def hide(_number: int, data: bytes, is_key: bool) -> list[bytes]:
        return [bytes([data[0] & ~0x02]) + data[1:], b"\x88"] if is_key else [data]  # show_frame

    whole = write_clip(path.with_suffix(".whole.webm"), COUNT, codec="libvpx-vp9", codec_options={**VP9, "g": "12"})
    _rewritten(whole, path, hide)


def write_av1_hidden(path: Path) -> None:
    """Every coded frame has a packet of its own, hidden ones, too."""
    whole = write_clip(path.with_suffix(".whole.mp4"), COUNT, codec="libsvtav1", codec_options=AV1)
    with av.open(str(whole)) as source:
        split = av.BitStreamFilterContext("av1_frame_split", source.streams.video[0])
        parts = {
            number: [bytes(part) for part in split.filter(packet)]
            for number, packet in enumerate(packet for packet in source.demux(video=0) if packet.size)
        }
    _rewritten(whole, path, lambda number, _data, _is_key: parts[number])


def write_not_coded(path: Path) -> None:
    """MPEG-4 part 2 in which every tenth packet holds a VOP that is not coded: the picture before it stays."""

    def drop(number: int, data: bytes, _is_key: bool) -> list[bytes]:
        # ISO/IEC 14496-2 6.2.5: predicted; time of 5 bits, since the rate is 25; vop_coded 0; stuffing
        bits = f"0101{number % 25:05b}1001111"
        return [b"\x00\x00\x01\xb6" + int(bits, 2).to_bytes(2, "big") if number % 10 == 4 else data]

    def paint(number: int) -> Frames:
        return painted(number - (number % 10 == 4))

    _rewritten(write_clip(path.with_suffix(".whole.avi"), COUNT, codec="mpeg4", paint=paint), path, drop)


def write_concatenated(path: Path, codec: str = "libx264", codec_options: Mapping[str, str] | None = None) -> None:
    """Two whole files, one after the other; the second shows numbers from 1000."""
    whole = b""
    for first in (0, 1000):
        paint = partial(_painted_from, first)
        whole += write_clip(path, COUNT, codec=codec, codec_options=codec_options, paint=paint).read_bytes()
    path.write_bytes(whole)


def write_double_frames(path: Path) -> None:
    """VP9 whose packets hold two frames that are both shown."""

    def pair(number: int, data: bytes, _is_key: bool) -> list[bytes]:
        marker = bytes([0xC0 | 3 << 3 | 1])  # two frames, sizes of four bytes
        if number % 2 == 0:
            first.append(data)
            return []
        sizes = b"".join(len(frame).to_bytes(4, "little") for frame in (first[-1], data))
        return [first[-1] + data + marker + sizes + marker]

    first: list[bytes] = []
    options = {**VP9, "g": "12"}
    _rewritten(
        write_clip(path.with_suffix(".whole.webm"), COUNT, codec="libvpx-vp9", codec_options=options), path, pair
    )


def write_in_band_sets(path: Path) -> None:
    """H.264 whose second half has parameter sets of its own, which stand once, before its first frame."""
    parts = []
    for first, params in ((0, _CLOSED), (60, f"{_CLOSED}:cabac=0:8x8dct=0")):
        paint = partial(_painted_from, first)
        options = {"x264-params": params}
        parts.append(write_clip(path.with_suffix(f".{first}.mp4"), 60, codec_options=options, paint=paint))
    with av.open(str(parts[0])) as one, av.open(str(parts[1])) as two, av.open(str(path), "w") as output:
        copied = output.add_stream_from_template(one.streams.video[0], opaque=True)
        sets = _sets_of(two.streams.video[0].codec_context.extradata or b"")
        found = [
            (bytes(packet), packet.is_keyframe) for part in (one, two) for packet in part.demux(video=0) if packet.size
        ]
        for number, (data, is_key) in enumerate(found):
            packet = av.Packet(sets + data if number == 60 else data)
            packet.stream, packet.time_base, packet.is_keyframe = copied, Fraction(1, 1000), is_key
            packet.pts = packet.dts = 40 * number
            output.mux(packet)


def _sets_of(configuration: bytes) -> bytes:
    """Return the parameter sets of an avcC, each after a length of four bytes (ISO/IEC 14496-15 5.3.3)."""
    sets, at = b"", 5
    for mask in (0x1F, 0xFF):
        count, at = configuration[at] & mask, at + 1
        for _ in range(count):
            length = int.from_bytes(configuration[at : at + 2], "big")
            sets += length.to_bytes(4, "big") + configuration[at + 2 : at + 2 + length]
            at += 2 + length
    return sets


def write_two_descriptions(path: Path) -> None:
    """An MP4 with two sample descriptions, of two encoders and two sizes."""
    flv = path.with_suffix(".flv")
    write_new_header(flv)
    with av.open(str(flv)) as source, av.open(str(path), "w") as output:
        copied = output.add_stream_from_template(source.streams.video[0], opaque=True)
        for packet in source.demux(video=0):
            if packet.size:
                packet.stream = copied
                output.mux(packet)


def write_two_edits(path: Path) -> None:
    """An MP4 whose edit list presents its first second and what follows its third, without the frames between."""
    written = bytearray(write_clip(path, COUNT).read_bytes())
    with av.open(str(path)) as opened:
        scale = opened.streams.video[0].time_base.denominator
    at = written.index(b"elst") - 4
    size, first = int.from_bytes(written[at : at + 4], "big"), int.from_bytes(written[at + 20 : at + 24], "big")
    entries = b"".join(
        struct.pack(">IiI", duration_milliseconds, first + start_seconds * scale, 1 << 16)
        for duration_milliseconds, start_seconds in ((1000, 0), (1800, 3))
    )
    written[at : at + size] = struct.pack(">I4sII", 16 + len(entries), b"elst", 0, 2) + entries
    for box in (b"edts", b"trak", b"moov"):
        start = written.index(box) - 4
        grown = int.from_bytes(written[start : start + 4], "big") + 16 + len(entries) - size
        written[start : start + 4] = grown.to_bytes(4, "big")
    path.write_bytes(written)


def write_two_frames_a_packet(path: Path) -> None:
    """H.264 in MPEG-TS whose packets hold two frames each, of which only the first has a time."""
    whole = write_clip(path.with_suffix(".h264"), COUNT, container="h264", codec_options={"x264-params": _CLOSED})
    with av.open(str(whole)) as source, av.open(str(path), "w") as output:
        copied = output.add_stream_from_template(source.streams.video[0], opaque=True)
        frames = [(bytes(packet), packet.is_keyframe) for packet in source.demux(video=0) if packet.size]
        for number in range(0, COUNT, 2):
            packet = av.Packet(frames[number][0] + frames[number + 1][0])
            packet.stream, packet.time_base, packet.is_keyframe = copied, Fraction(1, 1000), frames[number][1]
            packet.pts = packet.dts = 40 * number
            output.mux(packet)
