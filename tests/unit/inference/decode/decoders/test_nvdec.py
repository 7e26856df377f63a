"""The adapter nvdec with a stand-in for the GPU: the files it gets, its failures, and the fallback to PyAV."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import pytest

from inference.decode import DecodeLimits, DecoderPool
from inference.decode.decoders.cuda import Cuda
from inference.decode.decoders.nvdec import Nvdec, checked_nvdec, open_nvdec
from inference.decode.decoders.pyav import PyAv
from inference.decode.frames import shared_frames
from inference.decode.one_pass import decode_once
from inference.errors import BadVideo, VideoFault
from inference.types import ClipRequest, DecodePlan, PictureSpec, Scope
from tests.decoders import StandInGpu
from tests.media import numbers_on, write_clip

ROOT = Path(__file__).resolve().parents[5]
SMALL = PictureSpec(48, 64)
PLAN = DecodePlan((ClipRequest(Scope.WHOLE, SMALL, 8),))
EXPECTED = [0, 4, 8, 12, 16, 20, 24, 29]
LIMITS = DecodeLimits()


class FailingGpu(StandInGpu):
    """A stand-in that damages the frames after the ``first`` ones."""

    def __init__(self, spoil, first=0):
        super().__init__()
        self.spoil, self.first, self.fetched_frames = spoil, first, 0

    def fetched(self, frame):
        frame = super().fetched(frame)
        self.fetched_frames += 1
        return frame if self.fetched_frames <= self.first else self.spoil(frame)


def fails(_frame):
    raise av.error.ExternalError(-542398533, "Generic error in an external library")


def refuses(_frame):
    raise BadVideo(VideoFault.UNSUPPORTED, "a yuv420p picture that the GPU did not decode")


def is_full(_frame):
    raise MemoryError("no GPU memory")


def forgets_to_cut(frame):
    return frame.reformat(width=frame.width + 2)


def one_value_off(frame):
    pixels = np.frombuffer(memoryview(frame.planes[0]), np.uint8).copy()
    pixels[1000] ^= 4
    frame.planes[0].update(pixels)
    return frame


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    return write_clip(tmp_path_factory.mktemp("media") / "video.mp4", 30)


def decoded(decoder, path):
    """Return the result of one pass, and the numbers on the frames."""
    done, descriptor = decode_once(decoder, str(path), path.stat().st_size, PLAN, LIMITS)
    try:
        frames = shared_frames.map_pictures(descriptor, done.layout)[SMALL]
    finally:
        os.close(descriptor)
    return done, numbers_on(frames[done.clips[0].indices])


def test_a_file_for_the_gpu_is_decoded_there_and_names_nvdec(video):
    done, numbers = decoded(checked_nvdec(StandInGpu()), video)
    assert (done.decoder, done.fallback_reason, numbers) == ("nvdec", "", EXPECTED)


@pytest.mark.parametrize("first", [0, 5])
@pytest.mark.parametrize("spoil", [fails, refuses, is_full, forgets_to_cut])
def test_after_a_failure_on_the_gpu_pyav_decodes_the_file_from_its_start(video, spoil, first):
    gpu = FailingGpu(spoil, first)
    done, numbers = decoded(Nvdec(gpu), video)
    assert gpu.paths, "the GPU was not tried"
    assert (done.decoder, numbers, done.decoded_fraction) == ("pyav", EXPECTED, 1.0)
    assert done.fallback_reason.startswith("the GPU did not decode it whole: ")


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (one_value_off, "the GPU's pictures are not PyAV's: frames [7, 8, 9"),
        (fails, "the GPU fails at a simple clip: "),
        (is_full, "the GPU fails at a simple clip: no GPU memory"),
    ],
)
def test_a_gpu_that_fails_the_check_is_never_used(video, spoil, words):
    decoder = checked_nvdec(FailingGpu(spoil, first=7))
    assert decoder.gpu is None
    done, numbers = decoded(decoder, video)
    assert (done.decoder, numbers) == ("pyav", EXPECTED)
    assert done.fallback_reason.startswith(words)


@pytest.mark.parametrize(
    ("name", "options", "reason"),
    [
        ("mpeg2.mpg", {"codec": "mpeg2video"}, "not a codec for the GPU: mpeg2video"),
        ("h264.avi", {}, "no timestamps to identify frames: avi"),
    ],
)
def test_an_unsuitable_file_is_not_given_to_the_gpu(tmp_path, name, options, reason):
    gpu = StandInGpu()
    done, numbers = decoded(Nvdec(gpu), write_clip(tmp_path / name, 30, **options))
    assert (done.decoder, done.fallback_reason, numbers) == ("pyav", reason, EXPECTED)
    assert not gpu.paths


def test_a_damaged_file_is_not_given_to_the_gpu_which_would_hide_the_damage(video):
    gpu, path = StandInGpu(), str(video)
    timeline = replace(PyAv().probe(path, LIMITS), readable_fraction=0.95)
    frames = {SMALL: np.zeros((1, 48, 64, 3), np.uint8)}
    reading = Nvdec(gpu).read(path, timeline, {SMALL: np.array([3])}, frames, LIMITS)
    assert (reading.decoder, reading.fallback_reason) == ("pyav", "damaged: 95.0% of it is present")
    assert not gpu.paths


def test_a_file_removed_meanwhile_raises_file_not_found(video, tmp_path):
    timeline = PyAv().probe(str(video), LIMITS)
    frames = {SMALL: np.zeros((1, 48, 64, 3), np.uint8)}
    with pytest.raises(FileNotFoundError):
        Nvdec(StandInGpu()).read(str(tmp_path / "gone.mp4"), timeline, {SMALL: np.array([3])}, frames, LIMITS)


def test_a_frame_in_main_memory_is_refused_as_a_frame_of_the_gpu():
    cuda = Cuda(av.codec.hwaccel.HWAccel("cuda"))
    with pytest.raises(BadVideo, match="a nv12 picture that the GPU did not decode"):
        cuda.fetched(av.VideoFrame(64, 64, "nv12"))


def test_without_a_gpu_the_reason_names_the_remedy():
    decoder = open_nvdec()
    assert decoder.gpu or any(
        word in decoder.no_gpu_reason for word in ("install", "NVIDIA_DRIVER_CAPABILITIES", "nvidia-smi")
    )


def test_every_kind_of_fallback_is_logged_once(video, tmp_path, caplog):
    other = write_clip(tmp_path / "mpeg2.mpg", 30, codec="mpeg2video")
    with caplog.at_level(logging.WARNING), DecoderPool(1, decoder="tests.decoders:nvdec_on_stand_in") as pool:
        made = [pool.decode(path, PLAN).decoder for path in (video, other, other, video)]
    assert made == ["nvdec", "pyav", "pyav", "nvdec"]
    assert caplog.messages == [
        "decoded by pyav, not tests.decoders:nvdec_on_stand_in: not a codec for the GPU: mpeg2video"
    ]


def test_a_child_gets_the_variables_it_is_given_and_no_others(video):
    with DecoderPool(1, environ={"CUDA_VISIBLE_DEVICES": "3", "PATH": "/elsewhere"}) as pool:
        pool.warm_up()
        environ = Path(f"/proc/{pool.children()[0]}/environ").read_text(encoding="utf-8").split("\0")
    assert "CUDA_VISIBLE_DEVICES=3" in environ
    assert "PATH=/elsewhere" not in environ
    assert {entry.partition("=")[0] for entry in environ if entry} <= {
        *("CUDA_VISIBLE_DEVICES", "PATH", "PYTHONPATH", "PYTHONNOUSERSITE"),
        *("LC_ALL", "OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS"),
    }


def test_nvdec_loads_no_torch():
    program = (
        "import inference.decode.decoders.nvdec, inference.decode.processes.child, sys; print('torch' in sys.modules)"
    )
    answer = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "False"
