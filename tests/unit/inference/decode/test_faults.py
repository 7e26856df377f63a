"""Files that are no video, damaged files and files over a limit each end as one stable code."""

from __future__ import annotations

import io
import os
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from inference.decode import DecodeLimits, DecoderPool
from inference.decode.decoders.pyav import PyAv
from inference.errors import BadVideo, VideoFault
from inference.types import ClipRequest, DecodePlan, PictureSpec, Scope
from tests.media import numbers_on, real_clip, write_clip, write_tone
from tests.unusual_videos import write_two_frames_a_packet

SMALL = PictureSpec(48, 64)
PLAN = DecodePlan((ClipRequest(Scope.WHOLE, SMALL, 8),))
EVERY_FRAME = DecodePlan((ClipRequest(Scope.WINDOWS, SMALL, 400, window_seconds=1000.0),))
FASTSTART = {"movflags": "faststart"}


def picture_bytes(kind):
    buffer = io.BytesIO()
    Image.new("RGB", (64, 64), (200, 30, 30)).save(buffer, kind)
    return buffer.getvalue()


def garbage(path):
    path.write_bytes(np.random.default_rng(7).bytes(50_000))


def cut(path, share, **options):
    write_clip(path, 120, **options)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * share)])


def zeroed(path, first, last, source=None):
    """Overwrite a range of the file, given as shares of its length, with zeros."""
    whole = bytearray((source or write_clip(path, 240, container_options=FASTSTART)).read_bytes())
    start, stop = int(len(whole) * first), int(len(whole) * last)
    whole[start:stop] = bytes(stop - start)
    path.write_bytes(whole)


def animated(path):
    pictures = [Image.new("RGB", (64, 64), (shade, 0, 0)) for shade in range(0, 250, 25)]
    pictures[0].save(path, "gif", save_all=True, append_images=pictures[1:])


TABLE = {
    "empty": (lambda path: path.touch(), VideoFault.NOT_A_VIDEO),
    "garbage": (garbage, VideoFault.NOT_A_VIDEO),
    "text": (lambda path: path.write_text("hello\n" * 900), VideoFault.NOT_A_VIDEO),
    "html": (lambda path: path.write_text("<!DOCTYPE html><html>404</html>"), VideoFault.NOT_A_VIDEO),
    "json": (lambda path: path.write_text('{"error": "NoSuchKey"}'), VideoFault.NOT_A_VIDEO),
    "folder": (lambda path: path.mkdir(), VideoFault.NOT_A_VIDEO),
    "pipe": (os.mkfifo, VideoFault.NOT_A_VIDEO),
    "audio only": (write_tone, VideoFault.NOT_A_VIDEO),
    "jpeg": (lambda path: path.write_bytes(picture_bytes("jpeg")), VideoFault.NOT_A_VIDEO),
    "png": (lambda path: path.write_bytes(picture_bytes("png")), VideoFault.NOT_A_VIDEO),
    "avif": (lambda path: path.write_bytes(picture_bytes("avif")), VideoFault.NOT_A_VIDEO),
    "animated gif": (animated, VideoFault.NOT_A_VIDEO),
    "half, index at the end": (lambda path: cut(path, 0.5), VideoFault.NOT_A_VIDEO),
    "half, index first": (lambda path: cut(path, 0.5, container_options=FASTSTART), VideoFault.CORRUPT),
    "half, long index": (lambda path: cut(path, 0.8, container_options=FASTSTART), VideoFault.CORRUPT),
    "zeroed middle": (lambda path: zeroed(path, 0.4, 0.9), VideoFault.CORRUPT),
}


@pytest.fixture(scope="module")
def pool():
    with DecoderPool(1) as opened:
        yield opened


def fault_of(pool, path, plan=PLAN):
    with pytest.raises(BadVideo) as caught:
        pool.decode(path, plan)
    assert str(caught.value)
    return caught.value.code


@pytest.mark.parametrize("name", TABLE)
def test_a_bad_file_ends_as_its_fault_code(pool, tmp_path, name):
    make, expected = TABLE[name]
    path = tmp_path / "video.mp4"
    make(path)
    assert fault_of(pool, path) == expected


@pytest.mark.parametrize(("suffix", "codec"), [("m4a", "aac"), ("mp3", "libmp3lame")])
def test_a_cover_is_not_a_video(pool, tmp_path, suffix, codec):
    song = write_tone(tmp_path / f"song.{suffix}", codec=codec, cover=picture_bytes("jpeg"))
    path = song.rename(tmp_path / "video.mp4")
    assert fault_of(pool, path) == VideoFault.NOT_A_VIDEO


@pytest.mark.parametrize("name", ["video.mkv", "video.avi", "video.flv", "video.wmv"])
def test_a_file_cut_in_half_is_corrupt_where_its_header_announces_more(pool, tmp_path, name):
    cut(tmp_path / name, 0.5, codec="wmv2" if name.endswith("wmv") else "libx264")
    with pytest.raises(BadVideo, match=r"the file ends after 50\.0% of what its header announces") as caught:
        pool.decode(tmp_path / name, PLAN)
    assert caught.value.code == VideoFault.CORRUPT


def test_a_stream_without_a_length_in_its_header_cut_in_half_is_a_shorter_video(pool, tmp_path):
    cut(tmp_path / "video.ts", 0.5)
    decoded = pool.decode(tmp_path / "video.ts", EVERY_FRAME)
    numbers = numbers_on(decoded.pictures[SMALL].frames)
    assert 30 < len(numbers) < 90
    assert numbers[:-1] == list(range(len(numbers) - 1)), "only the last, torn frame may be wrong"


def test_a_stream_that_lost_its_tail_is_decoded_as_far_as_it_goes(pool, tmp_path):
    path = tmp_path / "tail.ts"
    whole = write_clip(path, 200).read_bytes()
    path.write_bytes(whole[: int(len(whole) * 0.97)])
    assert pool.decode(path, PLAN).decoded_fraction > 0.9


def test_a_few_broken_frames_are_tolerated_and_counted(tmp_path):
    zeroed(tmp_path / "video.mp4", 0.50, 0.53, source=real_clip("bikes.mp4"))
    with DecoderPool(1, DecodeLimits(min_decoded_fraction=0.5)) as pool:
        decoded = pool.decode(tmp_path / "video.mp4", EVERY_FRAME)
        intact = pool.decode(real_clip("bikes.mp4"), EVERY_FRAME)
    assert 0.5 <= decoded.decoded_fraction < 1.0
    assert decoded.probe.frame_count == intact.probe.frame_count
    ours, theirs = decoded.pictures[SMALL].frames, intact.pictures[SMALL].frames
    assert ours.shape == theirs.shape
    same = (ours == theirs).all(axis=(1, 2, 3))
    assert same[:100].all()
    assert same.mean() > 0.7


def test_a_lost_frame_is_replaced_by_its_neighbour(tmp_path):
    path = write_clip(tmp_path / "video.avi", 60, codec="mjpeg", pix_fmt="yuvj420p")
    whole = bytearray(path.read_bytes())
    starts = [at for at in range(whole.index(b"movi"), len(whole)) if whole[at : at + 4] == b"00dc"]
    for number in (20, 21):
        whole[starts[number] + 8 : starts[number + 1]] = bytes(starts[number + 1] - starts[number] - 8)
    path.write_bytes(whole)
    with DecoderPool(1) as pool:
        decoded = pool.decode(path, EVERY_FRAME)
    assert decoded.decoded_fraction == pytest.approx(58 / 60)
    assert numbers_on(decoded.pictures[SMALL].frames) == [*range(20), 22, 22, *range(22, 60)]


PLAYLISTS = {
    "hls": "#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\n{other}\n#EXT-X-ENDLIST\n",
    "ffconcat": "ffconcat version 1.0\nfile {other}\n",
    "hls by url": "#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\nfile://{other}\n#EXT-X-ENDLIST\n",
    "dash": '<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011"><Period><AdaptationSet>'
    "<BaseURL>file://{other}</BaseURL></AdaptationSet></Period></MPD>",
    "sdp": "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 5004 RTP/AVP 96\n"
    "a=rtpmap:96 H264/90000\n",
}


@pytest.mark.parametrize("suffix", ["mp4", "m3u8", "ffconcat", "mpd", "sdp"])
@pytest.mark.parametrize("kind", PLAYLISTS)
def test_a_playlist_does_not_open_another_file(pool, tmp_path, kind, suffix):
    other = write_clip(tmp_path / "secret.ts", 10)
    path = tmp_path / f"video.{suffix}"
    path.write_text(PLAYLISTS[kind].format(other=other))
    assert fault_of(pool, path) == VideoFault.NOT_A_VIDEO


def test_a_file_name_that_looks_like_a_protocol_is_a_file_name(pool, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_clip(tmp_path / "plain.mp4", 10).rename(tmp_path / "concat:a|b.mp4")
    relative = (tmp_path / "concat:a|b.mp4").relative_to(tmp_path)
    assert pool.decode(relative, PLAN).probe.frame_count == 10


LIMITS = DecodeLimits()


@pytest.mark.parametrize(
    ("limits", "expected"),
    [
        (replace(LIMITS, max_bytes=1000), VideoFault.TOO_LONG),
        (replace(LIMITS, max_pixels=128 * 96 - 1), VideoFault.TOO_LARGE),
        (replace(LIMITS, max_seconds=2.3), VideoFault.TOO_LONG),
        (replace(LIMITS, max_frames_bytes=8 * 48 * 64 * 3 - 1), VideoFault.TOO_LONG),
    ],
)
def test_a_video_over_a_limit_is_refused_before_it_is_decoded(tmp_path, limits, expected):
    path = write_clip(tmp_path / "video.mp4", 60)
    with DecoderPool(1, limits) as pool:
        assert fault_of(pool, path) == expected


def test_a_long_video_whose_frames_must_be_counted_by_decoding_is_refused_before_that(tmp_path):
    path = tmp_path / "clip.ts"
    write_two_frames_a_packet(path)
    limits = replace(LIMITS, max_seconds=4.7)
    with DecoderPool(1, limits) as pool:
        assert fault_of(pool, path) == VideoFault.TOO_LONG
    with pytest.raises(BadVideo, match=r"4\.8 s long, over the limit of 4\.7 s"):
        PyAv().probe(str(path), limits)


def test_a_video_at_every_limit_is_decoded(tmp_path):
    path = write_clip(tmp_path / "video.mp4", 60)
    limits = replace(
        LIMITS,
        max_bytes=path.stat().st_size,
        max_pixels=128 * 96,
        max_seconds=2.4,
        max_frames_bytes=8 * 48 * 64 * 3,
    )
    with DecoderPool(1, limits) as pool:
        assert len(pool.decode(path, PLAN).pictures[SMALL].frames) == 8


def test_a_picture_that_grows_over_the_limit_within_the_stream_is_not_decoded(tmp_path):
    small = write_clip(tmp_path / "small.ts", 60).read_bytes()
    large = write_clip(tmp_path / "large.ts", 60, paint=lambda _: np.zeros((480, 640, 3), np.uint8)).read_bytes()
    path = tmp_path / "grows.ts"
    path.write_bytes(small + large)
    with DecoderPool(1, replace(LIMITS, max_pixels=128 * 96)) as pool:
        assert fault_of(pool, path, EVERY_FRAME) == VideoFault.CORRUPT


def test_a_missing_file_raises_file_not_found(pool, tmp_path):
    with pytest.raises(FileNotFoundError):
        pool.decode(tmp_path / "gone.mp4", PLAN)
