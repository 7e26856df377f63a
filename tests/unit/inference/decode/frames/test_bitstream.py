"""Frames, single fields and packets without a picture are told apart by their first bytes."""

from __future__ import annotations

from collections import Counter

import av
import pytest

from inference.decode.frames.bitstream import SYNTAXES, Content, content_reader
from tests.interlaced import write_fields
from tests.media import write_clip
from tests.unusual_videos import VP9, write_vp8_hidden


def contents_of(path):
    with av.open(str(path)) as opened:
        stream = opened.streams.video[0]
        context = stream.codec_context
        read = content_reader(context.codec.canonical_name, context.extradata or b"")
        return Counter(read(bytes(packet)) for packet in opened.demux(stream) if packet.size)


@pytest.mark.parametrize("name", ["fields.ts", "fields.mp4", "fields.mkv"])
def test_a_packet_of_one_h264_field_is_a_single_field(tmp_path, name):
    write_fields(tmp_path / name, 8, fields_per_packet=1)
    assert contents_of(tmp_path / name) == {Content.TOP_FIELD: 8, Content.BOTTOM_FIELD: 8}


@pytest.mark.parametrize("name", ["pairs.mp4", "pairs.mkv"])
def test_a_packet_of_two_h264_fields_is_a_frame(tmp_path, name):
    write_fields(tmp_path / name, 8, fields_per_packet=2)
    assert contents_of(tmp_path / name) == {Content.FRAME: 8}


@pytest.mark.parametrize(
    ("codec", "options"),
    [
        ("libx264", {"x264-params": "log-level=none:tff=1"}),  # macroblock-adaptive: each picture is a frame
        ("libx264", {"x264-params": "log-level=none:cqm=jvt", "profile": "high"}),  # has scaling lists
        ("libx265", {"x265-params": "log-level=none:pools=none"}),
        ("mpeg2video", {"flags": "+ilme+ildct"}),
    ],
)
@pytest.mark.parametrize("suffix", ["mkv", "ts"])
def test_every_packet_of_these_encoders_is_a_frame(tmp_path, codec, options, suffix):
    path = write_clip(tmp_path / f"clip.{suffix}", 6, codec=codec, codec_options=options)
    assert contents_of(path) == {Content.FRAME: 6}


def test_hidden_frames_of_vp8_hold_nothing(tmp_path):
    write_vp8_hidden(tmp_path / "hidden.webm")
    assert contents_of(tmp_path / "hidden.webm") == {Content.FRAME: 108, Content.NOTHING: 12}


def test_a_superframe_of_vp9_is_shown_if_one_of_its_frames_is(tmp_path):
    path = write_clip(tmp_path / "vp9.webm", 2, codec="libvpx-vp9", codec_options=VP9)
    with av.open(str(path)) as opened:
        shown = next(bytes(packet) for packet in opened.demux(video=0))
    hidden, existing = bytes([shown[0] & ~0x02]) + shown[1:], b"\x88"
    read = content_reader("vp9", b"")
    marker = bytes([0xC0 | 1 << 3 | 1])  # two frames, sizes of two bytes
    index = marker + len(hidden).to_bytes(2, "little") + (1).to_bytes(2, "little") + marker
    assert read(shown) is read(existing) is Content.FRAME
    assert read(hidden) is Content.NOTHING
    assert read(hidden + existing + index) is Content.FRAME


def picture_coding_extension(structure):
    return b"\x00\x00\x01\xb5" + bytes([0x8F, 0xFF, 0xF0 | structure, 0x41, 0x80]) + bytes(20)


@pytest.mark.parametrize(
    ("structures", "content"), [((1,), "TOP_FIELD"), ((2,), "BOTTOM_FIELD"), ((3,), "FRAME"), ((1, 2), "FRAME")]
)
def test_the_picture_structure_of_mpeg2_tells_a_field(structures, content):
    packet = b"".join(picture_coding_extension(structure) for structure in structures)
    assert content_reader("mpeg2video", b"")(packet) is Content[content]


@pytest.mark.parametrize(
    ("codec", "units"),
    [("h264", (b"\x09\xf0", b"\x67\x64\x00", b"\x06\x05")), ("hevc", (b"\x46\x01", b"\x4e\x01\x05"))],
)
def test_a_packet_of_parameter_sets_and_messages_alone_holds_nothing(codec, units):
    assert content_reader(codec, b"")(b"".join(b"\x00\x00\x01" + unit for unit in units)) is Content.NOTHING


@pytest.mark.parametrize("codec", [*SYNTAXES, "vp8", "vp9", "mpeg2video"])
@pytest.mark.parametrize(
    "packet",
    [b"\x00", b"\x00\x00\x01", b"\x00\x00\x01\x65", b"\xff" * 64, b"\x00" * 64, b"\x00\x00\x01\xb5\x80"],
)
def test_damaged_packets_are_read_without_an_error(codec, packet):
    for configuration in (b"", b"\x01", b"\x01" + b"\xff" * 30):
        assert content_reader(codec, configuration)(packet) in Content
