"""The files on which every decoder is tested: sound ones in many formats, damaged ones, and files that are not videos.

Each frame encodes its number in its pixels; a rotated file shows upright numbers only if the rotation is applied.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from pathlib import Path

import av
import numpy as np
from PIL import Image

from inference.types import Frames
from tests.interlaced import write_fields
from tests.media import HEIGHT, WIDTH, painted, remux, write_clip, write_tone

COUNT = 120
EVERY = tuple(range(COUNT))
NOT_FOURS = tuple(number for number in EVERY if number % 10 != 4)
FASTSTART = {"movflags": "faststart"}
MILLISECONDS = (*range(0, 1000, 40), *range(1000, 9000, 1000), *range(9000, 10740, 20))  # 25/s, 1/s, then 50/s
OPEN_GOP = {"x264-params": "log-level=none:keyint=12:open-gop=1:bframes=4:b-pyramid=normal"}
LONG_GOP = {"x264-params": "log-level=none:keyint=250:bframes=2"}
X265 = {"x265-params": "log-level=none:keyint=12:bframes=3:pools=none"}
AV1 = {"preset": "10", "crf": "1", "svtav1-params": "lp=1"}
VP9 = {"deadline": "realtime", "cpu-used": "8"}
SLIDES = (0, 1, 2, 3)
FIELD_PAIRS = 60
PLAYLIST = "#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\nfile://{other}\n#EXT-X-ENDLIST\n"


@dataclass(frozen=True, slots=True)
class VideoFile:
    """The function that makes a file, and the numbers of its frames (none: not a video)."""

    make: Callable[[Path], object]
    shown: Sequence[int] = EVERY
    pts_milliseconds: Sequence[int] | None = None  # None: 25 frames a second


def _garbage(path: Path) -> None:
    path.write_bytes(np.random.default_rng(7).bytes(50_000))


def _playlist(path: Path) -> None:
    secret = write_clip(path.with_suffix(".ts"), 12)
    path.write_text(PLAYLIST.format(other=secret))


def _jpeg() -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (64, 64), (200, 30, 30)).save(buffer, "jpeg")
    return buffer.getvalue()


def _cover(path: Path) -> None:
    write_tone(path, codec="libmp3lame", cover=_jpeg())


def _grainy(number: int) -> Frames:
    """Return a numbered frame with film grain, so that pictures and not headers fill the damaged file."""
    grain = np.random.default_rng(number).integers(-40, 41, (HEIGHT, WIDTH, 1))
    return np.clip(painted(number) + grain, 0, 255).astype(np.uint8)


def _whole(path: Path, options: Mapping[str, str] | None = FASTSTART) -> bytearray:
    return bytearray(write_clip(path, COUNT, container_options=options, paint=_grainy).read_bytes())


def _truncated(path: Path, share: float, options: Mapping[str, str] | None = FASTSTART) -> None:
    whole = _whole(path, options)
    path.write_bytes(whole[: int(len(whole) * share)])


def _bits_flipped(path: Path) -> None:
    """Flip one bit in every kilobyte or so of the pictures."""
    whole = _whole(path)
    first = whole.index(b"mdat") + 4
    chance = np.random.default_rng(11)
    for at in range(first + 2000, len(whole), 1000):
        whole[at + int(chance.integers(0, min(1000, len(whole) - at)))] ^= 1 << int(chance.integers(0, 8))
    path.write_bytes(whole)


def _zeroed(path: Path, first: float, last: float) -> None:
    whole = _whole(path)
    start, stop = int(len(whole) * first), int(len(whole) * last)
    whole[start:stop] = bytes(stop - start)
    path.write_bytes(whole)


def _edit_list(path: Path) -> None:
    remux(write_clip(path.with_suffix(".whole.mp4"), COUNT), path, cut_seconds=1.2)


def _rotated(path: Path, degrees: int) -> None:
    def paint(number: int) -> Frames:
        return np.rot90(painted(number), degrees // 90).copy()  # counter-clockwise, the view of a camera held clockwise

    remux(write_clip(path.with_suffix(".lying.mp4"), COUNT, paint=paint), path, rotation_degrees=degrees)


def _mirrored(path: Path) -> None:
    def paint(number: int) -> Frames:
        return painted(number)[:, ::-1].copy()

    remux(write_clip(path.with_suffix(".plain.mp4"), COUNT, paint=paint), path, flips_horizontally=True)


def _joined_late(path: Path) -> None:
    """Write a stream that starts at its 41st packet; the next keyframe is the 49th."""
    whole = write_clip(path, COUNT).read_bytes()
    with av.open(str(path)) as opened:
        starts = [packet.pos for packet in opened.demux(video=0) if packet.size]
    path.write_bytes(whole[starts[40] :])


def _jumping(path: Path, starts_milliseconds: Sequence[int], counts: Sequence[int]) -> None:
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


def _new_header(path: Path) -> None:
    """A live stream in FLV whose encoder came back in another size: its header stands once, in the middle."""
    closed = {"x264-params": "log-level=none:keyint=10:min-keyint=10:scenecut=0:bframes=0"}
    written, milliseconds = b"FLV\x01\x01\x00\x00\x00\x09" + bytes(4), 0
    for first, size in ((0, (WIDTH, HEIGHT)), (60, (192, 160))):
        paint = partial(_painted_in, first, size)
        part = write_clip(path.with_suffix(f".{first}.mp4"), 60, codec_options=closed, paint=paint)
        with av.open(str(part)) as opened:
            configuration = opened.streams.video[0].codec_context.extradata or b""
            written += _flv_tag(milliseconds, b"\x17\x00\x00\x00\x00" + configuration)
            for packet in opened.demux(video=0):
                if packet.size:
                    kind = b"\x17" if packet.is_keyframe else b"\x27"
                    written += _flv_tag(milliseconds, kind + b"\x01\x00\x00\x00" + bytes(packet))
                    milliseconds += 40
    path.write_bytes(written)


def _painted_in(first: int, size: tuple[int, int], number: int) -> Frames:
    return painted(first + number, *size)


def _static_end(path: Path) -> None:
    """A screen recording: its header says 10 s, its last picture is shown after 1.9 s, and its rate is unknown."""
    write_clip(path, 30, codec="libvpx", codec_options=VP9, pts=range(0, 30 * 66, 66))
    written = bytearray(path.read_bytes())
    at = written.index(b"\x44\x89\x88") + 3  # Segment, Info, Duration: float64 milliseconds
    written[at : at + 8] = struct.pack(">d", 10_000.0)
    if (at := written.find(b"\x23\xe3\x83")) >= 0:  # DefaultDuration becomes a Void element of the same length
        size = written[at + 3] & 0x7F
        written[at : at + 4 + size] = b"\xec" + bytes([0x80 | 2 + size]) + bytes(2 + size)
    path.write_bytes(written)


def _slides(path: Path, codec: str = "libx264") -> None:
    """Four pictures, each shown for five seconds."""
    write_clip(path, len(SLIDES), codec=codec, pts=[5000 * number for number in SLIDES])


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


def _vp8_hidden(path: Path) -> None:
    """Every tenth frame is not shown, as alternate references are not."""

    def hide(number: int, data: bytes, _is_key: bool) -> list[bytes]:
        return [bytes([data[0] & ~0x10]) + data[1:] if number % 10 == 4 else data]  # show_frame, RFC 6386 9.1

    whole = write_clip(path.with_suffix(".whole.webm"), COUNT, codec="libvpx", codec_options=VP9)
    _rewritten(whole, path, hide)


def _vp9_hidden(path: Path) -> None:
    """Every keyframe is hidden, and shown by a packet of its own: show_existing_frame of slot 0."""

    def hide(_number: int, data: bytes, is_key: bool) -> list[bytes]:
        return [bytes([data[0] & ~0x02]) + data[1:], b"\x88"] if is_key else [data]  # show_frame

    whole = write_clip(path.with_suffix(".whole.webm"), COUNT, codec="libvpx-vp9", codec_options={**VP9, "g": "12"})
    _rewritten(whole, path, hide)


def _av1_hidden(path: Path) -> None:
    """Every coded frame has a packet of its own, hidden ones, too."""
    whole = write_clip(path.with_suffix(".whole.mp4"), COUNT, codec="libsvtav1", codec_options=AV1)
    with av.open(str(whole)) as source:
        split = av.BitStreamFilterContext("av1_frame_split", source.streams.video[0])
        parts = {
            number: [bytes(part) for part in split.filter(packet)]
            for number, packet in enumerate(packet for packet in source.demux(video=0) if packet.size)
        }
    _rewritten(whole, path, lambda number, _data, _is_key: parts[number])


def _not_coded(path: Path) -> None:
    """MPEG-4 part 2 in which every tenth packet holds a VOP that is not coded: the picture before it stays."""

    def drop(number: int, data: bytes, _is_key: bool) -> list[bytes]:
        # ISO/IEC 14496-2 6.2.5: predicted; time of 5 bits, since the rate is 25; vop_coded 0; stuffing
        bits = f"0101{number % 25:05b}1001111"
        return [b"\x00\x00\x01\xb6" + int(bits, 2).to_bytes(2, "big") if number % 10 == 4 else data]

    def paint(number: int) -> Frames:
        return painted(number - (number % 10 == 4))

    _rewritten(write_clip(path.with_suffix(".whole.avi"), COUNT, codec="mpeg4", paint=paint), path, drop)


def _clip(path: Path, count: int = COUNT, **options: object) -> None:
    write_clip(path, count, **options)  # type: ignore[arg-type]  # passed on unchanged


NOT_VIDEOS: Mapping[str, VideoFile] = {
    "zero-byte.mp4": VideoFile(Path.touch, ()),
    "garbage.mp4": VideoFile(_garbage, ()),
    "html.mp4": VideoFile(lambda path: path.write_text("<!DOCTYPE html><html>404</html>"), ()),
    "playlist.mp4": VideoFile(_playlist, ()),
    "audio-only.m4a": VideoFile(write_tone, ()),
    "cover-art.mp3": VideoFile(_cover, ()),
    "jpeg.mp4": VideoFile(lambda path: path.write_bytes(_jpeg()), ()),
    "moov-missing.mp4": VideoFile(partial(_truncated, share=0.5, options=None), ()),
}
DAMAGED: Mapping[str, VideoFile] = {
    "truncated-50.mp4": VideoFile(partial(_truncated, share=0.5)),
    "truncated-95.mp4": VideoFile(partial(_truncated, share=0.95)),
    "bits-flipped.mp4": VideoFile(_bits_flipped),
    "zeroed-middle.mp4": VideoFile(partial(_zeroed, first=0.4, last=0.7)),
}
SOUND: Mapping[str, VideoFile] = {
    "closed-gop.mp4": VideoFile(_clip),
    "open-gop.mp4": VideoFile(partial(_clip, codec_options=OPEN_GOP)),
    "fragmented.mp4": VideoFile(partial(_clip, container_options={"movflags": "frag_keyframe+empty_moov"})),
    "edit-list.mp4": VideoFile(_edit_list, EVERY[30:]),
    "vfr.mp4": VideoFile(partial(_clip, pts=MILLISECONDS), pts_milliseconds=MILLISECONDS),
    "rotated-90.mp4": VideoFile(partial(_rotated, degrees=90)),
    "rotated-180.mp4": VideoFile(partial(_rotated, degrees=180)),
    "rotated-270.mp4": VideoFile(partial(_rotated, degrees=270)),
    "mirrored.mp4": VideoFile(_mirrored),
    "stream.ts": VideoFile(_clip),
    "long-gop.ts": VideoFile(partial(_clip, count=300, codec_options=LONG_GOP), tuple(range(300))),
    "joined-late.ts": VideoFile(_joined_late, EVERY[48:]),
    "h264.mkv": VideoFile(_clip),
    "unknown-count.mkv": VideoFile(partial(_clip, container_options={"live": "1"})),
    "h264-10-bit.mp4": VideoFile(partial(_clip, pix_fmt="yuv420p10le")),
    "hevc.mp4": VideoFile(partial(_clip, codec="libx265", codec_options=X265)),
    "hevc-10-bit.mp4": VideoFile(partial(_clip, codec="libx265", codec_options=X265, pix_fmt="yuv420p10le")),
    "vp9.webm": VideoFile(partial(_clip, codec="libvpx-vp9", codec_options=VP9)),
    "av1.mp4": VideoFile(partial(_clip, codec="libsvtav1", codec_options=AV1)),
    "mpeg4.avi": VideoFile(partial(_clip, codec="mpeg4", codec_options={"bf": "2"})),
    "h264.avi": VideoFile(_clip),
    "mpeg2.mpg": VideoFile(partial(_clip, codec="mpeg2video", codec_options={"bf": "2"})),
    "elementary.h264": VideoFile(partial(_clip, container="h264")),
    "mpeg2.ts": VideoFile(partial(_clip, codec="mpeg2video", codec_options={"bf": "2"})),
    "fields.ts": VideoFile(partial(write_fields, count=FIELD_PAIRS, fields_per_packet=1), EVERY[:FIELD_PAIRS]),
    "field-pairs.ts": VideoFile(partial(write_fields, count=FIELD_PAIRS, fields_per_packet=2), EVERY[:FIELD_PAIRS]),
    "fields.mp4": VideoFile(partial(write_fields, count=FIELD_PAIRS, fields_per_packet=1), EVERY[:FIELD_PAIRS]),
    "vp8-hidden.webm": VideoFile(_vp8_hidden, NOT_FOURS, tuple(40 * number for number in NOT_FOURS)),
    "vp9-hidden.mkv": VideoFile(_vp9_hidden),
    "av1-hidden.mkv": VideoFile(_av1_hidden),
    "not-coded.avi": VideoFile(_not_coded, NOT_FOURS, tuple(40 * number for number in NOT_FOURS)),
    "clock-set-back.ts": VideoFile(
        partial(_jumping, starts_milliseconds=(60_000, 1000), counts=(75, 225)), (*range(75), *range(1000, 1225))
    ),
    "clock-set-back-1-s.ts": VideoFile(
        partial(_jumping, starts_milliseconds=(1000, 4010), counts=(100, 100)), (*range(100), *range(1000, 1100))
    ),
    "clock-leap.ts": VideoFile(
        partial(_jumping, starts_milliseconds=(1000, 5_004_000), counts=(75, 75)), (*range(75), *range(1000, 1075))
    ),
    "new-header.flv": VideoFile(_new_header),
    "static-end.webm": VideoFile(_static_end, tuple(range(30)), tuple(range(0, 30 * 66, 66))),
    "slides.flv": VideoFile(_slides, SLIDES, tuple(5000 * number for number in SLIDES)),
    "slides.wmv": VideoFile(partial(_slides, codec="wmv2"), SLIDES, tuple(5000 * number for number in SLIDES)),
    "slides.avi": VideoFile(partial(_slides, codec="mpeg4"), SLIDES, tuple(5000 * number for number in SLIDES)),
}
FILES: Mapping[str, VideoFile] = NOT_VIDEOS | DAMAGED | SOUND
