"""A missing end of a file is told by the bytes that its header announces, and by nothing else."""

from __future__ import annotations

import pytest

from inference.decode.decoders.announced import readable_fraction
from inference.decode.decoders.source import opened, packets
from inference.decode.options import DecodeLimits
from tests.media import write_clip

CODECS = {"mp4": "libx264", "mkv": "libx264", "webm": "libvpx", "avi": "mpeg4", "flv": "libx264", "wmv": "wmv2"}
CODEC_OPTIONS = {"libvpx": {"deadline": "realtime"}}
FASTSTART = {"movflags": "faststart"}


def fraction_of(path):
    with opened(str(path), DecodeLimits()) as (container, stream):
        for _ in packets(container):
            pass
        return readable_fraction(str(path), container, stream)


def written(path, **options):
    codec = CODECS[path.suffix[1:]]
    container_options = {**options, **(FASTSTART if path.suffix == ".mp4" else {})}
    return write_clip(
        path, 120, codec=codec, codec_options=CODEC_OPTIONS.get(codec), container_options=container_options
    )


@pytest.mark.parametrize("suffix", CODECS)
def test_a_whole_file_is_readable_and_a_cut_one_in_proportion(tmp_path, suffix):
    path = written(tmp_path / f"clip.{suffix}")
    assert fraction_of(path) == 1.0
    whole = path.read_bytes()
    path.write_bytes(whole + b"trailing bytes that no header knows of")
    assert fraction_of(path) == 1.0
    path.write_bytes(whole[: len(whole) * 7 // 10])
    if suffix == "mp4":  # its index comes first: the share is that of the samples
        assert fraction_of(path) == pytest.approx(0.44, abs=0.03)
    else:
        assert fraction_of(path) == pytest.approx(0.7, abs=0.001)


def test_a_cut_fragment_of_an_mp4_is_missing(tmp_path):
    path = write_clip(tmp_path / "clip.mp4", 120, container_options={"movflags": "frag_keyframe+empty_moov"})
    assert fraction_of(path) == 1.0
    whole = path.read_bytes()
    ends = whole.rindex(b"moof"), whole.rindex(b"mdat")
    for end in ends:
        path.write_bytes(whole[: end + 20])
        assert 0.8 < fraction_of(path) < 1.0
    path.write_bytes(whole[: ends[0] - 4])  # a whole number of fragments announces nothing
    assert fraction_of(path) == 1.0


def test_a_live_recording_of_unknown_size_announces_nothing(tmp_path):
    path = written(tmp_path / "clip.mkv", live="1")
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    assert fraction_of(path) == 1.0


@pytest.mark.parametrize(
    ("suffix", "where", "value"),
    [
        ("avi", lambda whole: 4, bytes(4)),  # a recorder that was stopped before it filled in the size
        ("flv", lambda whole: whole.index(b"filesize\x00") + 9, bytes(8)),
        ("flv", lambda whole: whole.index(b"filesize"), b"filesite"),
        ("wmv", lambda whole: whole.index(bytes.fromhex("a1dcab8c47a9cf11")) + 88, b"\x01"),  # a broadcast
    ],
)
def test_a_size_that_was_never_filled_in_announces_nothing(tmp_path, suffix, where, value):
    path = written(tmp_path / f"clip.{suffix}")
    whole = bytearray(path.read_bytes())
    start = where(bytes(whole))
    whole[start : start + len(value)] = value
    path.write_bytes(whole[: len(whole) * 9 // 10])
    assert fraction_of(path) == 1.0


def test_a_long_avi_file_has_several_chunks_of_which_the_last_may_be_cut(tmp_path):
    path = written(tmp_path / "clip.avi")
    first = path.read_bytes()
    path.write_bytes(first + b"RIFF" + len(first).to_bytes(4, "little") + b"AVIX" + bytes(len(first) - 4))
    assert fraction_of(path) == 1.0
    path.write_bytes(path.read_bytes()[: len(first) * 3 // 2])
    assert fraction_of(path) == pytest.approx(0.75, abs=0.001)
