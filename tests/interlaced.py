"""Interlaced H.264 made without an encoder: frames that are coded as two field pictures, as camcorders and 1080i do.

Every macroblock is I_PCM (ITU-T H.264 7.3.5), so that frames show their numbers exactly. Two of three frames are
referred to by no other frame, and can be skipped.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av

from tests.media import HEIGHT, WIDTH, painted

FIELD_RATE = 50
_KEY_INTERVAL = 12


def write_fields(path: Path, count: int, *, fields_per_packet: int) -> None:
    """Write painted frames at 25 a second, as packets of one field or of both."""
    frames = [(_field(n, 0), _field(n, 1)) for n in range(count)]
    raw = io.BytesIO(b"".join(top + bottom for top, bottom in frames))
    with av.open(raw, format="h264") as source, av.open(str(path), "w") as output:
        stream = output.add_stream_from_template(source.streams.video[0])
        for n, pair in enumerate(frames):
            for k, data in enumerate(pair if fields_per_packet == 1 else [pair[0] + pair[1]]):
                packet = av.Packet(data)
                packet.stream, packet.time_base = stream, Fraction(1, FIELD_RATE)
                packet.pts = packet.dts = 2 * n + k
                packet.duration = fields_per_packet
                packet.is_keyframe = n % _KEY_INTERVAL == 0 and k == 0
                output.mux(packet)


def _u(value: int, bits: int) -> str:
    return format(value, f"0{bits}b")


def _ue(value: int) -> str:
    return _u(value + 1, 2 * (value + 1).bit_length() - 1)


def _unit(kind: int, importance: int, bits: str) -> bytes:
    """Return a NAL unit after its start code, with emulation prevention."""
    bits += "1"
    bits += "0" * (-len(bits) % 8)
    return b"\x00\x00\x00\x01" + bytes(
        [importance << 5 | kind, *_escaped(int(bits, 2).to_bytes(len(bits) // 8, "big"))]
    )


def _escaped(body: bytes) -> Iterator[int]:
    zeros = 0
    for byte in body:
        if zeros == 2 and byte <= 3:
            yield 3
            zeros = 0
        yield byte
        zeros = zeros + 1 if byte == 0 else 0


# Main profile, frame_num of 4 bits, order of 8 bits, frame_mbs_only_flag 0
_SPS = _unit(
    7,
    3,
    _u(77, 8) + _u(0, 8) + _u(30, 8) + _ue(0) * 3 + _ue(4) + _ue(1) + "0" + _ue(WIDTH // 16 - 1) + _ue(HEIGHT // 32 - 1)
    + "00100",
)  # fmt: skip
_PPS = _unit(8, 3, _ue(0) * 2 + "00" + _ue(0) * 3 + "000" + _ue(0) * 3 + "000")


def _field(n: int, bottom: int) -> bytes:
    at = n % _KEY_INTERVAL
    is_idr, is_referenced = at == 0 and not bottom, n % 3 == 0
    bits = _ue(0) + _ue(7) + _ue(0) + _u(-(-at // 3) % 16, 4) + "1" + _u(bottom, 1)
    bits += _ue(n // _KEY_INTERVAL % 2) if is_idr else ""
    bits += _u((2 * at + bottom) % 256, 8)
    bits += ("00" if is_idr else "0") if is_referenced else ""
    bits += _ue(0)
    luma = (painted(n, WIDTH, HEIGHT)[bottom::2, :, 0] > 0) * 200 + 20
    for y in range(0, HEIGHT // 2, 16):
        for x in range(0, WIDTH, 16):
            bits += _ue(25)
            bits += "0" * (-len(bits) % 8)
            bits += "".join(_u(int(value), 8) for value in luma[y : y + 16, x : x + 16].ravel()) + _u(128, 8) * 128
    return (_SPS + _PPS if is_idr else b"") + _unit(5 if is_idr else 1, int(is_referenced), bits)
