from __future__ import annotations

from dataclasses import dataclass

import av
import pytest

from inference.decode.frames import skipping
from inference.decode.frames.bitstream import SYNTAXES
from inference.decode.frames.skipping import ParameterSets, needed
from tests.media import write_clip

X264 = "log-level=none:keyint=12:min-keyint=12:scenecut=0:bframes=3"
X265 = "log-level=none:keyint=12:min-keyint=12:scenecut=0:bframes=3:pools=none"


@dataclass(frozen=True)
class Letter:
    name: str
    size: int = 1


def fed_of(letters, wanted, state=""):
    """Return the letters that are fed; a capital letter begins a closed group, those of ``state`` change the state."""
    packets = [Letter(name) for name in letters]
    fed = needed(
        packets,
        lambda letter: letter.name in wanted,
        len(wanted),
        lambda letter: letter.name.isupper(),
        lambda letter: letter.name in state,
    )
    return "".join(letter.name for letter in fed)


@pytest.mark.parametrize(
    ("letters", "wanted", "fed"),
    [
        ("AbcDefGhi", "AbcDefGhi", "AbcDefGhi"),
        ("AbcDefGhi", "A", "A"),
        ("AbcDefGhi", "bG", "AbG"),
        ("AbcDefGhi", "eh", "DeGh"),
        ("AbcDefGhi", "cf", "AbcDef"),
        ("AbcDefGhi", "ax", ""),  # a wanted one that is not in the file
        ("abcDef", "be", "abDe"),  # recorded from its middle
        ("abcdef", "bf", "abcdef"),
        ("", "", ""),
    ],
)
def test_the_unwanted_end_of_a_closed_group_is_skipped(letters, wanted, fed):
    assert fed_of(letters, wanted) == fed


@pytest.mark.parametrize(
    ("state", "fed"), [("A", "AGhi"), ("D", "DGhi"), ("f", "DefGhi"), ("c", "AbcGhi"), ("AD", "ADGhi"), ("i", "Ghi")]
)
def test_a_packet_that_changes_the_state_is_fed_with_its_group_before_it(state, fed):
    assert fed_of("AbcDefGhi", "i", state) == fed


def avc(*units):
    return b"".join(len(unit).to_bytes(4, "big") + unit for unit in units)


SPS, OTHER_SPS, PPS, SLICE = b"\x67one", b"\x67two", b"\x68one", b"\x65slice"
LENGTHS = b"\x01\x64\x00\x0b\xff\xe0\x00"


@pytest.mark.parametrize("written", [avc, lambda *units: b"".join(b"\x00\x00\x00\x01" + unit for unit in units)])
def test_only_parameter_sets_other_than_the_latest_change_the_state(written):
    sets = ParameterSets(SYNTAXES["h264"], LENGTHS if written is avc else b"")
    packets = [
        (written(SPS, PPS, SLICE), True),
        (written(SPS, PPS, SLICE + b" of another length"), False),
        (written(PPS, SLICE), False),
        (written(SLICE), False),
        (written(OTHER_SPS, PPS, SLICE), True),
        (written(SPS, PPS, SLICE), True),
        (written(SLICE, OTHER_SPS), False),  # FFmpeg reads no set after a slice of its packet
    ]
    assert [sets.are_changed_by(packet, None) for packet, _ in packets] == [is_changed for _, is_changed in packets]


def test_a_new_decoder_configuration_changes_the_state_and_is_kept():
    sets = ParameterSets(SYNTAXES["h264"], LENGTHS)
    assert sets.are_changed_by(avc(SLICE), LENGTHS + b"new")
    assert sets.configuration == LENGTHS + b"new"
    assert not sets.are_changed_by(avc(SLICE), None)


def test_a_group_over_the_held_bytes_is_fed(monkeypatch):
    monkeypatch.setattr(skipping, "HELD_BYTES", 2)
    assert fed_of("AbcdeFg", "g") == "AbcFg"


@pytest.mark.parametrize(
    ("name", "codec", "options", "refreshes"),
    [
        ("closed.mp4", "libx264", {"x264-params": X264}, 5),
        ("closed.ts", "libx264", {"x264-params": X264}, 5),
        ("open.mp4", "libx264", {"x264-params": X264 + ":open-gop=1"}, 1),
        ("open.ts", "libx264", {"x264-params": X264 + ":open-gop=1"}, 1),
        ("closed-hevc.mp4", "libx265", {"x265-params": X265 + ":open-gop=0"}, 5),
        ("closed-hevc.ts", "libx265", {"x265-params": X265 + ":open-gop=0"}, 5),
        ("open-hevc.mp4", "libx265", {"x265-params": X265}, 1),
    ],
)
def test_only_a_refresh_begins_a_closed_group(tmp_path, name, codec, options, refreshes):
    write_clip(tmp_path / name, 60, codec=codec, codec_options=options)
    with av.open(str(tmp_path / name)) as opened:
        context = opened.streams.video[0].codec_context
        syntax, configuration = SYNTAXES[context.codec.canonical_name], context.extradata or b""
        keyframes = [bytes(packet) for packet in opened.demux(video=0) if packet.size and packet.is_keyframe]
    assert len(keyframes) >= 5
    assert sum(syntax.is_refresh(packet, configuration) for packet in keyframes) == refreshes


@pytest.mark.parametrize("packet", [b"", b"\x00", b"\x00\x00\x01", b"\x00\x00\x00\x00", b"\xff" * 64, b"\x00" * 64])
@pytest.mark.parametrize("configuration", [b"", b"\x01", b"\x01" + b"\xff" * 30])
@pytest.mark.parametrize("codec", SYNTAXES)
def test_meaningless_bytes_begin_no_group(packet, configuration, codec):
    assert not SYNTAXES[codec].is_refresh(packet, configuration)
