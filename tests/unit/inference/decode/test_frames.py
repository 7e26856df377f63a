"""Every container and codec yields exactly the wanted frames: each frame carries its number in its pixels."""

from __future__ import annotations

import av
import numpy as np
import pytest

from inference.decode import DecodeLimits, DecoderPool
from inference.decode.frames import sampling
from inference.types import ClipRequest, DecodePlan, Fit, PictureSpec, Scope
from tests.media import FPS, numbers_on, painted, real_clip, remux, write_clip

SMALL = PictureSpec(48, 64)
EVERY_FRAME = DecodePlan((ClipRequest(Scope.WINDOWS, SMALL, 400, window_seconds=1000.0),))
SPARSE = DecodePlan((ClipRequest(Scope.WHOLE, SMALL, 7),))
CROP = PictureSpec(32, 32, Fit.CENTRE_CROP)
LETTER = PictureSpec(64, 64, Fit.LETTERBOX)
X265 = {"x265-params": "log-level=none:keyint=12:bframes=3:pools=none"}

ENCODINGS = {
    "closed-gop.mp4": {},
    "open-gop.mp4": {
        "codec_options": {"x264-params": "log-level=none:keyint=12:open-gop=1:bframes=4:b-pyramid=normal"}
    },
    "fragmented.mp4": {"container_options": {"movflags": "frag_keyframe+empty_moov"}},
    "ten-bit.mp4": {"pix_fmt": "yuv420p10le"},
    "444.mp4": {"pix_fmt": "yuv444p"},
    "stream.ts": {},
    "video.mkv": {},
    "video.flv": {},
    "h264-in.avi": {},  # AVI stores no pts: FFmpeg's are wrong, the order is right
    "elementary.h264": {"container": "h264"},  # no clock at all
    "vp9.webm": {"codec": "libvpx-vp9", "codec_options": {"deadline": "realtime", "cpu-used": "8"}},
    "vp8.webm": {"codec": "libvpx", "codec_options": {"deadline": "realtime", "auto-alt-ref": "1"}},
    "av1.mp4": {"codec": "libsvtav1", "codec_options": {"preset": "10", "crf": "5", "svtav1-params": "lp=1"}},
    "hevc.mp4": {"codec": "libx265", "codec_options": X265},
    "hevc-ten-bit.mp4": {"codec": "libx265", "codec_options": X265, "pix_fmt": "yuv420p10le"},
    "mpeg4.avi": {"codec": "mpeg4", "codec_options": {"bf": "2"}},
    "mjpeg.avi": {"codec": "mjpeg", "pix_fmt": "yuvj420p"},
    "mpeg2.mpg": {"codec": "mpeg2video", "codec_options": {"bf": "2"}},
    "mpeg2.ts": {"codec": "mpeg2video", "codec_options": {"bf": "2"}},
}


@pytest.fixture(scope="module")
def pool():
    with DecoderPool(1) as opened:
        yield opened


def clip_numbers(decoded, clip=0):
    chosen = decoded.clips[clip]
    return numbers_on(decoded.pictures[chosen.request.picture].frames[chosen.indices])


@pytest.mark.parametrize("name", ENCODINGS)
def test_every_frame_and_a_sparse_choice_are_exact(pool, tmp_path, name):
    path = write_clip(tmp_path / name, 60, **ENCODINGS[name])
    every = pool.decode(path, EVERY_FRAME)
    assert every.probe.frame_count == 60
    assert every.probe.duration_seconds == pytest.approx(60 / FPS, abs=0.002)
    assert numbers_on(every.pictures[SMALL].frames) == list(range(60))
    np.testing.assert_allclose(every.pictures[SMALL].pts_seconds, np.arange(60) / FPS, atol=0.0011)
    assert every.decoded_fraction == 1.0

    sparse = pool.decode(path, SPARSE)
    assert clip_numbers(sparse) == sampling.uniform(60, 7).tolist()
    rows = sampling.uniform(60, 7)
    assert (sparse.pictures[SMALL].frames == every.pictures[SMALL].frames[rows]).all(), (
        "skipping packets changed pixels"
    )


@pytest.mark.parametrize("name", ["bikes.mp4", "bigbuckbunny.mp4", "cityCC0.mpg"])
def test_skipping_unreferenced_frames_changes_no_pixel(pool, name):
    probe = pool.decode(real_clip(name), SPARSE).probe
    native = PictureSpec(probe.height, probe.width)
    sparse = pool.decode(real_clip(name), DecodePlan((ClipRequest(Scope.WHOLE, native, 9),)))
    every = pool.decode(real_clip(name), DecodePlan((ClipRequest(Scope.WHOLE, native, probe.frame_count),)))
    rows = sampling.uniform(probe.frame_count, 9)
    assert (sparse.pictures[native].frames == every.pictures[native].frames[rows]).all()


def test_frames_removed_by_an_edit_list_are_not_presented(pool, tmp_path):
    whole = write_clip(tmp_path / "whole.mp4", 120)
    path = remux(whole, tmp_path / "cut.mp4", cut_seconds=1.2)
    decoded = pool.decode(path, EVERY_FRAME)
    assert decoded.probe.frame_count == 90
    assert numbers_on(decoded.pictures[SMALL].frames) == list(range(30, 120))
    assert clip_numbers(pool.decode(path, SPARSE)) == (30 + sampling.uniform(90, 7)).tolist()


def test_windows_of_a_variable_frame_rate_are_chosen_by_time(pool, tmp_path):
    milliseconds = [*range(0, 1000, 40), *range(1000, 9000, 1000), *range(9000, 10000, 20)]
    path = write_clip(tmp_path / "vfr.mkv", len(milliseconds), pts=milliseconds)
    decoded = pool.decode(path, DecodePlan((ClipRequest(Scope.WINDOWS, SMALL, 4),)))
    np.testing.assert_allclose(decoded.pictures[SMALL].pts_seconds[0], 0.0)
    expected = sampling.window_frames(np.array(milliseconds) / 1000, 3.0, 7.0, 4)
    assert [(clip.start_seconds, clip.end_seconds) for clip in decoded.clips][:2] == [(0, 4), (3, 7)]
    assert clip_numbers(decoded, 1) == expected.tolist() == [27, 28, 29, 30]


def test_two_concatenated_streams_play_one_after_the_other(pool, tmp_path):
    first = write_clip(tmp_path / "one.ts", 300).read_bytes()
    path = tmp_path / "joined.ts"
    path.write_bytes(first + write_clip(tmp_path / "two.ts", 300).read_bytes())
    decoded = pool.decode(path, DecodePlan((ClipRequest(Scope.WHOLE, SMALL, 20),)))
    expected = [number % 300 for number in sampling.uniform(600, 20).tolist()]
    assert clip_numbers(decoded) == expected
    assert decoded.probe.duration_seconds == pytest.approx(600 / FPS, abs=0.1)


def test_a_stream_recorded_from_its_middle_starts_at_its_first_keyframe(pool, tmp_path):
    whole = write_clip(tmp_path / "whole.ts", 120).read_bytes()
    path = tmp_path / "joined-late.ts"
    path.write_bytes(whole[len(whole) // 188 // 3 * 188 :])
    decoded = pool.decode(path, EVERY_FRAME)
    numbers = numbers_on(decoded.pictures[SMALL].frames)
    assert numbers[0] % 12 == 0
    assert numbers == list(range(numbers[0], 120))
    assert decoded.decoded_fraction == 1.0


def test_too_few_frames_are_repeated(pool, tmp_path):
    decoded = pool.decode(write_clip(tmp_path / "short.mp4", 3), DecodePlan((ClipRequest(Scope.WHOLE, SMALL, 8),)))
    assert clip_numbers(decoded) == sampling.uniform(3, 8).tolist()
    assert len(decoded.pictures[SMALL].frames) == 3


def test_one_frame_is_a_video(pool, tmp_path):
    decoded = pool.decode(write_clip(tmp_path / "one.mp4", 1), DecodePlan((ClipRequest(Scope.WINDOWS, SMALL, 4),)))
    assert clip_numbers(decoded) == [0, 0, 0, 0]
    assert decoded.probe.duration_seconds == pytest.approx(1 / FPS)


def test_clips_of_one_picture_share_their_frames(pool, tmp_path):
    plan = DecodePlan(
        (
            ClipRequest(Scope.WHOLE, SMALL, 16),
            ClipRequest(Scope.WINDOWS, SMALL, 16),
            ClipRequest(Scope.SAMPLED, LETTER, 4, interval_seconds=0.5),
        )
    )
    decoded = pool.decode(write_clip(tmp_path / "long.mp4", 250), plan)
    assert [clip.request.scope for clip in decoded.clips] == [Scope.WHOLE, *[Scope.WINDOWS] * 3, Scope.SAMPLED]
    assert clip_numbers(decoded, 0) == sampling.uniform(250, 16).tolist()
    for clip, start in zip(decoded.clips[1:4], (0, 3, 6), strict=True):
        expected = sampling.window_frames(np.arange(250) / FPS, start, start + 4, 16)
        windowed = decoded.pictures[SMALL].frames[clip.indices]
        assert numbers_on(windowed) == expected.tolist()
    distinct = {*decoded.clips[0].indices.tolist(), *(i for clip in decoded.clips[1:4] for i in clip.indices.tolist())}
    assert distinct == set(range(len(decoded.pictures[SMALL].frames)))
    assert np.diff(decoded.pictures[SMALL].pts_seconds).min() > 0
    assert len(decoded.pictures[LETTER].frames) == 4


CORNERS = np.zeros((96, 128, 3), np.uint8)
CORNERS[:48, :64], CORNERS[:48, 64:], CORNERS[48:, :64] = (255, 0, 0), (0, 255, 0), (0, 0, 255)  # r g / b black


def corners_of(frame):
    height, width = frame.shape[:2]
    names = {(True, False, False): "r", (False, True, False): "g", (False, False, True): "b", (False,) * 3: "k"}
    spots = [(y, x) for y in (height // 4, height * 3 // 4) for x in (width // 4, width * 3 // 4)]
    return "".join(names[tuple((frame[y, x] > 128).tolist())] for y, x in spots)


@pytest.mark.parametrize(
    ("turn", "expected", "degrees"),
    [
        ({}, "rgbk", 0),
        ({"rotation_degrees": 90}, "brkg", 90),
        ({"rotation_degrees": 180}, "kbgr", 180),
        ({"rotation_degrees": 270}, "gkrb", 270),
        ({"flips_horizontally": True}, "grkb", 0),
    ],
)
def test_rotation_is_applied(pool, tmp_path, turn, expected, degrees):
    lying = write_clip(tmp_path / "lying.mp4", 4, paint=lambda _: CORNERS, pix_fmt="yuv444p")
    decoded = pool.decode(
        remux(lying, tmp_path / "turned.mp4", **turn),
        DecodePlan((ClipRequest(Scope.WHOLE, SMALL, 2), ClipRequest(Scope.WHOLE, LETTER, 2))),
    )
    is_upright = degrees in {90, 270}
    assert corners_of(decoded.pictures[SMALL].frames[0]) == expected
    assert decoded.probe.rotation_degrees == degrees
    assert (decoded.probe.width, decoded.probe.height) == ((96, 128) if is_upright else (128, 96))
    letter = decoded.pictures[LETTER].frames[0]
    inner = letter[:, 8:56] if is_upright else letter[8:56]
    assert corners_of(inner) == expected
    assert (letter[:, :8] if is_upright else letter[:8] == 114).all()


def test_each_fit_places_the_picture_as_specified(pool, tmp_path):
    path = write_clip(tmp_path / "flat.mp4", 2, paint=lambda _: painted(0b1111_0110_1111), pix_fmt="yuv444p")
    plan = DecodePlan(tuple(ClipRequest(Scope.WHOLE, spec, 1) for spec in (SMALL, CROP, LETTER)))
    pictures = pool.decode(path, plan).pictures
    assert numbers_on(pictures[SMALL].frames) == [0b1111_0110_1111]
    letter = pictures[LETTER].frames[0]
    assert (letter[:8] == 114).all()
    assert (letter[-8:] == 114).all()
    assert numbers_on(letter[None, 8:56]) == [0b1111_0110_1111]
    crop = pictures[CROP].frames[0]  # 43 x 32, the middle 32 columns: the outer halves of the outer blocks are gone
    assert crop.shape == (32, 32, 3)
    assert (crop[14:18, 0:4] < 40).all()
    assert (crop[14:18, 8:24] > 215).all()


def test_colours_are_kept(pool, tmp_path):
    path = write_clip(tmp_path / "red.mp4", 2, paint=lambda _: np.full((96, 128, 3), (200, 60, 30), np.uint8))
    frame = pool.decode(path, SPARSE).pictures[SMALL].frames[0]
    np.testing.assert_allclose(frame.reshape(-1, 3).mean(axis=0), (200, 60, 30), atol=4)


@pytest.mark.parametrize(
    ("name", "codec", "size", "frames", "seconds"),
    [
        ("bikes.mp4", "h264", (640, 272), 250, 10.0),
        ("bigbuckbunny.mp4", "h264", (1280, 720), 132, 5.28),
        ("carphone_pristine.mp4", "h264", (176, 144), 120, 4.0),
        ("carphone_distorted.mp4", "h264", (176, 144), 120, 4.0),
        ("world.mp4", "h264", (480, 270), 901, 30.03),
        ("b.mp4", "h264", (480, 270), 150, 5.0),
        ("b.avi", "mpeg4", (480, 270), 150, 5.03),
        ("cityCC0.mpg", "mpeg2video", (720, 405), 190, 7.6),
    ],
)
def test_a_real_clip_has_as_many_frames_as_a_plain_decode_gives(pool, name, codec, size, frames, seconds):
    path = real_clip(name)
    decoded = pool.decode(path, DecodePlan((ClipRequest(Scope.WHOLE, SMALL, 8),)))
    probe = decoded.probe
    assert (probe.codec, (probe.width, probe.height), probe.frame_count) == (codec, size, frames)
    assert probe.duration_seconds == pytest.approx(seconds, abs=0.05)
    assert probe.size_bytes == path.stat().st_size
    assert decoded.decoded_fraction == 1.0
    with av.open(str(path)) as container:
        assert sum(1 for _ in container.decode(video=0)) == frames


def test_a_full_hd_clip_decodes(pool):
    decoded = pool.decode(real_clip("a.mp4"), SPARSE, timeout_seconds=60)
    assert (decoded.probe.width, decoded.probe.height) == (1920, 1080)
    assert set(decoded.milliseconds) == {"queue", "probe", "decode"}


def test_the_default_limits_allow_a_minute_of_windows():
    wanted = 60 * 30 * 256 * 256 * 3
    assert wanted < DecodeLimits().max_frames_bytes
