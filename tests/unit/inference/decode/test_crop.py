"""Encoding a crop: the given part of every frame at its time, the sound copied, and no file left over."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import psutil
import pytest

from inference.decode import DecodeLimits, DecoderPool
from inference.errors import BadVideo, VideoFault
from inference.types import Audio, ClipRequest, Crop, DecodePlan, PictureSpec, Scope
from tests.children import is_caught_writing, wait_until, written_bytes
from tests.media import HEIGHT, WIDTH, real_clip, remux, write_clip, write_tone
from tests.video_files import SOUND

TWO_ROWS = Crop(0, 0, WIDTH, HEIGHT * 2 // 3)  # of the three that spell a frame's number: its lower eight bits
SMALL = PictureSpec(48, 64)
PLAN = DecodePlan((ClipRequest(Scope.WHOLE, SMALL, 8),))
NOTHING = DecodePlan(())


@pytest.fixture(scope="module")
def pool():
    with DecoderPool(1) as opened:
        yield opened


@pytest.fixture
def crop_of(pool):
    """Return a function that crops and closes the files after the test."""
    with ExitStack() as opened:

        def crop(path, plan, part, of=pool):
            video = of.crop(path, plan, part)
            opened.enter_context(closing(video.encoded))
            return video

        yield crop


@pytest.fixture(scope="module")
def with_sound():
    """A clip of 150 pictures with sound."""
    return real_clip("b.mp4")


def number_on(frame):
    """Return the lower eight bits of a number, which stay when the last row of blocks is cropped."""
    height, width = frame.shape[0] // 2, frame.shape[1] // 4
    blocks = [(row * height, column * width) for row in range(2) for column in range(4)]
    inner = [frame[y + height // 4 : y + height * 3 // 4, x + width // 4 : x + width * 3 // 4] for y, x in blocks]
    return sum(int(block.mean() > 128) << bit for bit, block in enumerate(inner))


def frames_of(path):
    """Every picture as RGB, and its time from the first."""
    with av.open(str(path)) as opened:
        shown = [(frame.to_ndarray(format="rgb24"), frame.pts * frame.time_base) for frame in opened.decode(video=0)]
    return [picture for picture, _ in shown], [moment - shown[0][1] for _, moment in shown]


def sound_of(path):
    with av.open(str(path)) as opened:
        packets = [packet for packet in opened.demux(audio=0) if packet.size]
        return [(packet.pts * packet.time_base, bytes(packet)) for packet in packets]


@pytest.mark.parametrize("name", SOUND)
def test_every_frame_of_every_kind_of_file_is_cropped_upright_and_at_its_time(crop_of, tmp_path, name):
    path, file = tmp_path / name, SOUND[name]
    file.make(path)
    video = crop_of(path, PLAN, TWO_ROWS)
    pictures, moments = frames_of(video.encoded.path)
    assert [number_on(picture) for picture in pictures] == [number % 256 for number in file.shown]
    assert {picture.shape for picture in pictures} == {(TWO_ROWS.height, TWO_ROWS.width, 3)}
    assert video.encoded.num_frames == len(pictures)
    expected = [n * 40 for n in range(len(pictures))] if file.pts_milliseconds is None else file.pts_milliseconds
    assert [float(moment) * 1000 for moment in moments] == pytest.approx(expected, abs=1)
    judged = video.decoded.pictures[SMALL].frames[video.decoded.clips[0].indices]
    assert [number_on(frame) for frame in judged] == [file.shown[n] % 256 for n in picked(len(pictures))]


def picked(count):
    return np.linspace(0, count - 1, 8).astype(int)


def test_timestamps_and_durations_are_kept_to_the_tick(crop_of, tmp_path):
    pts = [0, 7, 40, 41, 900, 2000, 2001]
    path = write_clip(tmp_path / "vfr.mp4", len(pts), pts=pts)
    encoded = crop_of(path, NOTHING, TWO_ROWS).encoded
    assert frames_of(encoded.path)[1] == [Fraction(moment, 1000) for moment in pts]
    with av.open(str(encoded.path)) as opened:
        assert opened.duration / 1e6 == pytest.approx(2.0205, abs=0.001)  # the last frame stays as long as most do


def test_the_sound_is_copied_bit_for_bit_and_stays_in_step(crop_of, with_sound):
    encoded = crop_of(with_sound, NOTHING, Crop(0, 0, 480, 200)).encoded
    assert encoded.audio == Audio.COPIED
    assert sound_of(encoded.path) == sound_of(with_sound)
    assert frames_of(encoded.path)[1] == frames_of(with_sound)[1]


def with_tone(path, start_seconds):
    """Write two seconds of pictures and sound as a transport stream whose clock starts there."""
    video, tone = path.with_suffix(".mp4"), path.with_suffix(".m4a")
    write_clip(video, 50)
    write_tone(tone, 2.0)
    with ExitStack() as opened:
        sources = [opened.enter_context(av.open(str(source))) for source in (video, tone)]
        output = opened.enter_context(av.open(str(path), "w", options={"avoid_negative_ts": "disabled"}))
        copies = [output.add_stream_from_template(source.streams[0]) for source in sources]
        packets = [(packet, copy) for source, copy in zip(sources, copies, strict=True) for packet in source.demux()]
        for packet, copy in sorted(
            ((packet, copy) for packet, copy in packets if packet.size),
            key=lambda pair: pair[0].dts * pair[0].time_base,
        ):
            shift = round(start_seconds / packet.time_base)
            packet.pts, packet.dts, packet.stream = packet.pts + shift, packet.dts + shift, copy
            output.mux(packet)
    return path.read_bytes()


@pytest.mark.parametrize("second_start", [1, 5000])
def test_sound_stays_with_its_pictures_after_a_jump_of_the_clock(crop_of, tmp_path, second_start):
    path = tmp_path / "jump.ts"
    path.write_bytes(with_tone(tmp_path / "one.ts", 60) + with_tone(tmp_path / "two.ts", second_start))
    encoded = crop_of(path, NOTHING, TWO_ROWS).encoded
    assert (encoded.audio, encoded.num_frames) == (Audio.COPIED, 100)
    moments = [float(moment) for moment in frames_of(encoded.path)[1]]
    assert moments == pytest.approx([n / 25 for n in range(100)], abs=0.001)
    heard = [float(moment) for moment, _ in sound_of(encoded.path)]
    assert heard[0] == pytest.approx(0, abs=0.1)
    assert heard[-1] == pytest.approx(moments[-1], abs=0.1)
    assert max(np.diff(heard)) < 0.1
    assert min(np.diff(heard)) > 0


def test_sound_that_an_mp4_cannot_hold_is_dropped_and_reported(crop_of, tmp_path, with_sound):
    path = tmp_path / "pcm.mkv"
    video = write_clip(tmp_path / "silent.mp4", 30)
    tone = write_tone(tmp_path / "tone.wav", codec="pcm_s16le")
    with av.open(str(video)) as pictures, av.open(str(tone)) as sound, av.open(str(path), "w") as output:
        pairs = [(source, output.add_stream_from_template(source.streams[0])) for source in (pictures, sound)]
        for source, copied in pairs:
            for packet in source.demux():
                if packet.size:
                    packet.stream = copied
                    output.mux(packet)
    encoded = crop_of(path, NOTHING, TWO_ROWS).encoded
    assert (encoded.audio, encoded.num_frames) == (Audio.DROPPED, 30)
    assert crop_of(video, NOTHING, TWO_ROWS).encoded.audio == Audio.ABSENT


def test_the_crop_equals_that_part_of_the_source(crop_of, with_sound):
    crop = Crop(100, 40, 300, 180)
    video = crop_of(with_sound, DecodePlan((ClipRequest(Scope.WHOLE, PictureSpec(180, 300), 5),)), crop)
    source, _ = frames_of(with_sound)
    encoded, _ = frames_of(video.encoded.path)
    for place, judged in zip(
        np.linspace(0, len(source) - 1, 5).astype(int), video.decoded.pictures.popitem()[1].frames, strict=True
    ):
        wanted = source[place][40:220, 100:400].astype(int)
        assert np.abs(judged - wanted).mean() < 1.0  # equal but for the chroma at the edges
        assert np.abs(encoded[place] - wanted).mean() < 4.0  # crf 18


@pytest.mark.parametrize("pix_fmt", ["yuv420p", "yuvj420p", "yuv422p10le", "yuv444p"])
def test_colours_are_kept_in_every_pixel_format(crop_of, tmp_path, pix_fmt):
    ramp = np.linspace(20, 235, WIDTH).astype(np.uint8)[None, :, None].repeat(HEIGHT, 0).repeat(3, 2)
    path = write_clip(tmp_path / "ramp.mp4", 5, pix_fmt=pix_fmt, paint=lambda _: ramp)
    encoded = crop_of(path, NOTHING, Crop(0, 0, WIDTH, 64)).encoded
    (source, *_), (cropped, *_) = frames_of(path)[0], frames_of(encoded.path)[0]
    assert np.abs(cropped.astype(int) - source[:64]).max() <= 4


@pytest.mark.parametrize("degrees", [90, 270])
def test_the_pixel_aspect_ratio_is_kept_when_the_picture_is_rotated(crop_of, tmp_path, degrees):
    plain = tmp_path / "plain.mp4"
    with av.open(str(plain), "w") as output:
        stream = output.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        stream.codec_context.sample_aspect_ratio = Fraction(4, 3)
        for number in range(5):
            frame = av.VideoFrame.from_ndarray(np.zeros((HEIGHT, WIDTH, 3), np.uint8), "rgb24")
            frame.pts = number
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    turned = remux(plain, tmp_path / "turned.mp4", rotation_degrees=degrees)
    with av.open(str(crop_of(turned, NOTHING, Crop(0, 0, HEIGHT, 100)).encoded.path)) as opened:
        assert opened.streams.video[0].sample_aspect_ratio == Fraction(3, 4)
    with av.open(str(crop_of(plain, NOTHING, Crop(0, 0, WIDTH, 50)).encoded.path)) as opened:
        assert opened.streams.video[0].sample_aspect_ratio == Fraction(4, 3)


def test_a_picture_of_odd_size_is_cropped(crop_of, tmp_path):
    path = write_clip(tmp_path / "odd.mkv", 5, pix_fmt="yuv444p", paint=lambda _: np.full((97, 131, 3), 90, np.uint8))
    encoded = crop_of(path, NOTHING, Crop(2, 4, 128, 92)).encoded
    assert frames_of(encoded.path)[0][0].shape == (92, 128, 3)


def test_equal_crops_have_equal_bytes_and_digests_and_other_crops_do_not(crop_of, tmp_path, with_sound):
    crop = Crop(0, 20, 480, 200)
    first, again = (crop_of(with_sound, plan, crop).encoded for plan in (PLAN, NOTHING))
    assert first.path.read_bytes() == again.path.read_bytes()
    assert (first.digest, first.sha256, first.size_bytes) == (again.digest, again.sha256, again.size_bytes)
    other_part = crop_of(with_sound, NOTHING, replace(crop, top=22)).encoded
    renamed = tmp_path / "renamed.mp4"
    renamed.write_bytes(with_sound.read_bytes())
    assert crop_of(renamed, NOTHING, crop).encoded.digest == first.digest
    assert other_part.digest != first.digest


def test_the_index_is_written_before_the_pictures(crop_of, with_sound):
    written = crop_of(with_sound, NOTHING, Crop(0, 0, 480, 200)).encoded.path.read_bytes()
    assert written.index(b"moov") < written.index(b"mdat")


def test_a_damaged_video_is_cropped_within_the_tolerated_fraction(pool, crop_of, tmp_path):
    whole = bytearray(write_clip(tmp_path / "whole.mp4", 120, container_options={"movflags": "faststart"}).read_bytes())
    path = tmp_path / "damaged.mp4"
    path.write_bytes(whole[: int(len(whole) * 0.96)])
    video = crop_of(path, PLAN, TWO_ROWS)
    assert 0.9 < video.decoded.decoded_fraction < 1.0
    path.write_bytes(whole[: len(whole) // 2])
    assert fault_of(pool, path).code == VideoFault.CORRUPT


# ── failures ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def fault_of(pool, path, crop=TWO_ROWS, **options):
    with pytest.raises(BadVideo) as caught:
        pool.crop(path, PLAN, crop, **options)
    return caught.value


def test_a_crop_outside_the_picture_is_refused(pool, tmp_path):
    path = write_clip(tmp_path / "clip.mp4", 5)
    assert fault_of(pool, path, Crop(0, 0, WIDTH + 2, 64)).code == VideoFault.CROP_FAILED


def test_a_crop_that_grows_over_the_limit_is_refused(tmp_path):
    noise = np.random.default_rng(1).integers(0, 256, (40, 240, 320, 3), dtype=np.uint8)
    path = write_clip(tmp_path / "noise.mp4", 40, paint=lambda n: noise[n], codec_options={"crf": "45"})
    with DecoderPool(1, DecodeLimits(max_bytes=path.stat().st_size)) as pool:
        assert fault_of(pool, path, Crop(0, 0, 300, 200)).code == VideoFault.CROP_FAILED


def test_encoding_is_subject_to_the_memory_limit(tmp_path):
    path = write_clip(tmp_path / "large.mp4", 4, paint=lambda _: np.zeros((1440, 2560, 3), np.uint8))
    with DecoderPool(1, DecodeLimits(memory_bytes=48 << 20, max_frames_bytes=1 << 20)) as pool:
        assert fault_of(pool, path, Crop(0, 0, 2560, 1400)).code == VideoFault.DECODE_MEMORY


def test_a_missing_scratch_directory_raises_file_not_found(tmp_path, with_sound):
    with DecoderPool(1, scratch=tmp_path / "gone") as pool, pytest.raises(FileNotFoundError):
        pool.crop(with_sound, NOTHING, TWO_ROWS)


def is_encoding(pool):
    return any(written_bytes(pid) for pid in pool.children())


LONG = "world.mp4"  # 901 frames: some seconds of encoding
LONG_CROP = Crop(0, 0, 480, 240)


def signalled_while_encoding(pool, threads, signum, plan=NOTHING, tries=8, **options):
    """Return a running crop and its child, which got the signal; try again if the crop had ended before."""
    waiting = threads.submit(pool.crop, real_clip(LONG), plan, LONG_CROP, **options)
    wait_until(lambda: is_encoding(pool) or waiting.done())
    (child,) = pool.children()
    os.kill(child, signal.SIGSTOP)
    wait_until(lambda: psutil.Process(child).status() == psutil.STATUS_STOPPED)
    if is_encoding(pool):
        os.kill(child, signum)
        return waiting, child
    os.kill(child, signal.SIGCONT)
    waiting.result().encoded.close()
    assert tries > 1, "it ended each time before the signal"
    return signalled_while_encoding(pool, threads, signum, plan, tries - 1, **options)


def test_an_encoding_that_hangs_is_killed_at_its_deadline(tmp_path):
    with DecoderPool(1, scratch=tmp_path) as pool, ThreadPoolExecutor(1) as threads:
        waiting, stopped = signalled_while_encoding(pool, threads, signal.SIGSTOP, PLAN, timeout_seconds=8.0)
        with pytest.raises(BadVideo) as caught:
            waiting.result()
        assert caught.value.code == VideoFault.CROP_TIMEOUT
        assert not psutil.pid_exists(stopped)
        assert list(tmp_path.iterdir()) == []
        with closing(pool.crop(real_clip("b.mp4"), NOTHING, LONG_CROP).encoded) as encoded:
            assert encoded.num_frames == 150


def test_a_child_killed_while_encoding_causes_one_more_try(tmp_path):
    with DecoderPool(1, scratch=tmp_path) as pool, ThreadPoolExecutor(1) as threads:
        waiting, child = signalled_while_encoding(pool, threads, signal.SIGKILL)
        encoded = waiting.result().encoded
        assert pool.children() != (child,)
    with closing(encoded):
        assert len(frames_of(encoded.path)[0]) == 901
    assert list(tmp_path.iterdir()) == []


PARENT = """
import sys
from pathlib import Path
from inference.decode import DecoderPool
from tests.unit.inference.decode.test_crop import LONG, LONG_CROP, NOTHING, real_clip
pool = DecoderPool(1, scratch=Path(sys.argv[1]))
pool.warm_up()
print(*pool.children(), flush=True)
pool.crop(real_clip(LONG), NOTHING, LONG_CROP)
"""


def test_a_parent_killed_while_encoding_leaves_no_file_or_process(tmp_path):
    root = Path(__file__).resolve().parents[4]
    command = [sys.executable, "-c", PARENT, str(tmp_path)]
    for _ in range(8):
        with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=root, text=True) as parent:
            child = int(parent.stdout.readline())
            is_caught = is_caught_writing(child)
            parent.kill()
        if is_caught:
            break
    assert is_caught
    wait_until(lambda: not psutil.pid_exists(child))
    assert list(tmp_path.iterdir()) == []


def test_cropping_leaves_no_descriptor_open(pool, tmp_path):
    def descriptors():
        return len(list(Path("/proc/self/fd").iterdir()))

    path = write_clip(tmp_path / "clip.mp4", 20)
    pool.crop(path, PLAN, TWO_ROWS).encoded.close()
    before = descriptors()
    for _ in range(3):
        pool.crop(path, PLAN, TWO_ROWS).encoded.close()
        fault_of(pool, path, Crop(0, 0, WIDTH + 2, 64))
    assert descriptors() == before
