"""G6: decoding a video on the GPU, against PyAV on the CPU: equality of frames, and both costs."""

from __future__ import annotations

import os
import resource
import tempfile
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from bench.accelerator.clock import Deadline
from bench.accelerator.setting import BenchSetting, FigureRow, Figures, attempt
from inference.errors import InferenceError

if TYPE_CHECKING:
    from inference.decode.decoders.adapter import VideoDecoder
    from inference.types import DecodePlan, Frames

WANTED = 48
RATE = 30
CHILDREN = (1, 4, 8, 16)
NEEDED = ("CUDA_VISIBLE_DEVICES", "CUDA_DEVICE_ORDER", "LD_LIBRARY_PATH")  # variables with which a child finds the GPU


def decoding(setting: BenchSetting) -> Iterator[FigureRow]:
    """48 frames of a 1080p video: videos per second and CPU-seconds per video, with one and with several children."""
    case = "48 frames of 1080p H.264"
    if not setting.has_gpu:
        yield FigureRow(case, {"not run": "needs a GPU"})
        return
    if not _has_pyav():
        yield FigureRow(case, {"not run": "needs PyAV: pip install 'av>=18'"})
        return
    from inference.decode.decoders.nvdec import open_nvdec

    decoder = open_nvdec()
    if decoder.gpu is None:
        yield FigureRow(case, {"not run": decoder.no_gpu_reason})
        return
    with tempfile.TemporaryDirectory() as folder:
        path = write_video(Path(folder) / "video.mp4", seconds=10)
        yield from one_at_a_time(setting, path, {"nvdec": decoder})
        yield from _at_once(setting, path)


def one_at_a_time(setting: BenchSetting, path: Path, decoders: Mapping[str, VideoDecoder]) -> Iterator[FigureRow]:
    """Yield PyAV's row, then those of ``decoders``, with a comparison of their pixels."""
    from inference.decode.decoders.pyav import PyAv

    expected = frames_of(PyAv(), path)
    yield attempt(setting, "pyav", lambda: _repeated(setting, PyAv(), path, expected))
    for name, decoder in decoders.items():
        yield attempt(setting, name, lambda decoder=decoder: _repeated(setting, decoder, path, expected))


def _repeated(setting: BenchSetting, decoder: VideoDecoder, path: Path, expected: Frames) -> Figures:
    done, deadline = 0, Deadline(setting.seconds)
    started, cpu_started = time.perf_counter(), _cpu_seconds()
    while not done or not deadline.has_passed:
        found = frames_of(decoder, path)
        done += 1
    seconds, cpu_seconds = time.perf_counter() - started, _cpu_seconds() - cpu_started
    is_equal = "yes" if np.array_equal(found, expected) else "NO"
    return {"videos/s": done / seconds, "CPU-s/video": cpu_seconds / done, "pyav's pixels": is_equal}


def _at_once(setting: BenchSetting, path: Path) -> Iterator[FigureRow]:
    for children in CHILDREN:
        yield attempt(setting, f"nvdec, {children} children", lambda children=children: _by(setting, children, path))


def _by(setting: BenchSetting, children: int, path: Path) -> Figures:
    from inference.decode import DecoderPool

    environ = {name: os.environ[name] for name in NEEDED if name in os.environ}
    done, deadline = [0] * children, Deadline(2 * setting.seconds)
    with DecoderPool(children, decoder="nvdec", environ=environ) as pool, ThreadPoolExecutor(children) as threads:
        pool.warm_up()

        def keep_busy(thread: int) -> str:
            decoder = ""
            while not done[thread] or not deadline.has_passed:
                decoder = pool.decode(path, _plan()).decoder
                done[thread] += 1
            return decoder

        started = time.perf_counter()
        try:
            decoders = sorted(set(threads.map(keep_busy, range(children))))
        except InferenceError as error:
            raise RuntimeError(str(error)) from error
    return {"videos/s": sum(done) / (time.perf_counter() - started), "decoded by": "+".join(decoders)}


def frames_of(decoder: VideoDecoder, path: Path) -> Frames:
    """Decode the wanted frames (48, 256, 256, 3) of the video; raise RuntimeError if that fails."""
    from inference.decode import DecodeLimits
    from inference.decode.frames import shared_frames
    from inference.decode.one_pass import decode_once

    try:
        decoded, descriptor = decode_once(decoder, str(path), path.stat().st_size, _plan(), DecodeLimits())
    except InferenceError as error:
        raise RuntimeError(str(error)) from error
    try:
        (frames,) = shared_frames.map_pictures(descriptor, decoded.layout).values()
    finally:
        os.close(descriptor)
    return frames


def write_video(path: Path, seconds: int, width: int = 1920, height: int = 1080) -> Path:
    """Encode noise that moves over a gradient: H.264 with B-frames, a key frame at most every 250 frames."""
    import av

    noise = np.random.default_rng(0).integers(0, 48, (height, width, 3), dtype=np.uint8)
    slope = np.linspace(0, 200, width, dtype=np.uint8)[None, :, None]
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=RATE, options={"preset": "veryfast", "crf": "26"})
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for number in range(seconds * RATE):
            picture = np.roll(noise, number, axis=1) + np.roll(slope, 3 * number, axis=1)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
    return path


def _plan() -> DecodePlan:
    from inference.types import ClipRequest, DecodePlan, PictureSpec, Scope

    return DecodePlan((ClipRequest(Scope.WHOLE, PictureSpec(256, 256), WANTED),))


def _cpu_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def _has_pyav() -> bool:
    try:
        return find_spec("av") is not None
    except ValueError:  # blocked in sys.modules, as in the tests
        return False
