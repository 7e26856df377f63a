"""The files on which every decoder is tested: sound ones in many formats, damaged ones, and files that are not videos.

Each frame encodes its number in its pixels; a rotated file shows upright numbers only if the rotation is applied.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import av
import numpy as np
from PIL import Image

from inference.types import Frames
from tests.interlaced import write_fields
from tests.media import HEIGHT, WIDTH, painted, remux, write_clip, write_tone
from tests.unusual_videos import (
    AV1,
    COUNT,
    SLIDES,
    VP9,
    write_av1_hidden,
    write_concatenated,
    write_double_frames,
    write_in_band_sets,
    write_jumping,
    write_new_header,
    write_not_coded,
    write_slides,
    write_static_end,
    write_two_descriptions,
    write_two_edits,
    write_two_frames_a_packet,
    write_vp8_hidden,
    write_vp9_hidden,
)

EVERY = tuple(range(COUNT))
NOT_FOURS = tuple(number for number in EVERY if number % 10 != 4)
FASTSTART = {"movflags": "faststart"}
MILLISECONDS = (*range(0, 1000, 40), *range(1000, 9000, 1000), *range(9000, 10740, 20))  # 25/s, 1/s, then 50/s
OPEN_GOP = {"x264-params": "log-level=none:keyint=12:open-gop=1:bframes=4:b-pyramid=normal"}
LONG_GOP = {"x264-params": "log-level=none:keyint=250:bframes=2"}
X265 = {"x265-params": "log-level=none:keyint=12:bframes=3:pools=none"}
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
    "vp8-hidden.webm": VideoFile(write_vp8_hidden, NOT_FOURS, tuple(40 * number for number in NOT_FOURS)),
    "vp9-hidden.mkv": VideoFile(write_vp9_hidden),
    "av1-hidden.mkv": VideoFile(write_av1_hidden),
    "not-coded.avi": VideoFile(write_not_coded, NOT_FOURS, tuple(40 * number for number in NOT_FOURS)),
    "clock-set-back.ts": VideoFile(
        partial(write_jumping, starts_milliseconds=(60_000, 1000), counts=(75, 225)), (*range(75), *range(1000, 1225))
    ),
    "clock-set-back-1-s.ts": VideoFile(
        partial(write_jumping, starts_milliseconds=(1000, 4010), counts=(100, 100)), (*range(100), *range(1000, 1100))
    ),
    "clock-leap.ts": VideoFile(
        partial(write_jumping, starts_milliseconds=(1000, 5_004_000), counts=(75, 75)), (*range(75), *range(1000, 1075))
    ),
    "new-header.flv": VideoFile(write_new_header),
    "static-end.webm": VideoFile(write_static_end, tuple(range(30)), tuple(range(0, 30 * 66, 66))),
    "slides.flv": VideoFile(write_slides, SLIDES, tuple(5000 * number for number in SLIDES)),
    "slides.wmv": VideoFile(partial(write_slides, codec="wmv2"), SLIDES, tuple(5000 * number for number in SLIDES)),
    "slides.avi": VideoFile(partial(write_slides, codec="mpeg4"), SLIDES, tuple(5000 * number for number in SLIDES)),
}
FILES: Mapping[str, VideoFile] = NOT_VIDEOS | DAMAGED | SOUND
# Sound files of the same kinds in other containers; only the default decoder is tested on them.
FURTHER: Mapping[str, VideoFile] = {
    "field-pairs.mkv": VideoFile(partial(write_fields, count=FIELD_PAIRS, fields_per_packet=2), EVERY[:FIELD_PAIRS]),
    "fields.mkv": VideoFile(partial(write_fields, count=FIELD_PAIRS, fields_per_packet=1), EVERY[:FIELD_PAIRS]),
    "new-lengths.flv": VideoFile(partial(write_new_header, has_new_lengths=True)),
    "in-band-sets.mkv": VideoFile(write_in_band_sets),
    "two-descriptions.mp4": VideoFile(write_two_descriptions),
    "double-frames.mkv": VideoFile(write_double_frames),
    "two-frames-a-packet.ts": VideoFile(write_two_frames_a_packet),
    "two-edits.mp4": VideoFile(
        # FFmpeg presents the second edit two frames late, for the delay of B-frames
        write_two_edits,
        (*EVERY[:25], *EVERY[75:]),
        (*range(0, 1000, 40), *range(1080, 2880, 40)),
    ),
    "concatenated.mpg": VideoFile(
        partial(write_concatenated, codec="mpeg2video", codec_options={"bf": "2"}), (*EVERY, *range(1000, 1120))
    ),
    "concatenated.mkv": VideoFile(write_concatenated, (*EVERY, *range(1000, 1120))),
    "set-back-70-ms.ts": VideoFile(
        partial(write_jumping, starts_milliseconds=(1000, 4930), counts=(100, 100)), (*range(100), *range(1000, 1100))
    ),
    "slides-of-30-s.ts": VideoFile(
        partial(write_slides, seconds=30), SLIDES, tuple(30_000 * number for number in SLIDES)
    ),
    "slides.mkv": VideoFile(write_slides, SLIDES, tuple(5000 * number for number in SLIDES)),
}
