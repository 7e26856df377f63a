"""A comparison of a decoder with PyAV on a generated clip. Every process checks its GPU before it uses it."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping

import av
import numpy as np
from av.video.frame import VideoFrame

from inference.decode.decoders.adapter import Reading
from inference.decode.decoders.pyav import PyAv
from inference.decode.frames.timeline import Timeline
from inference.decode.options import DecodeLimits
from inference.types import Frames, Indices, PictureSpec

Read = Callable[[str, Timeline, Mapping[PictureSpec, Indices], Mapping[PictureSpec, Frames], DecodeLimits], Reading]

_WIDTH, _HEIGHT, _COUNT, _RATE = 320, 180, 24, 25  # 180 is no multiple of 16: the decoder must cut the last blocks
_SHOWN = PictureSpec(_HEIGHT, _WIDTH)
_X264 = {"preset": "veryfast", "x264-params": "log-level=none:threads=1:bframes=3:b-adapt=0:keyint=12"}


def difference_from_pyav(read: Read) -> str:
    """Return the difference of the decoder's frames of a short clip from PyAV's; empty if every bit is equal.

    Raises the errors of ``read``.
    """
    limits = DecodeLimits()
    descriptor = os.memfd_create("tamis-gpu-check", os.MFD_CLOEXEC)
    path = f"/proc/self/fd/{descriptor}"
    try:
        _write_clip(path)
        timeline = PyAv().probe(path, limits)
        wanted = {_SHOWN: np.arange(_COUNT)}
        ours, theirs = (np.zeros((_COUNT, _HEIGHT, _WIDTH, 3), np.uint8) for _ in range(2))
        PyAv().read(path, timeline, wanted, {_SHOWN: ours}, limits)
        read(path, timeline, wanted, {_SHOWN: theirs}, limits)
    finally:
        os.close(descriptor)
    differing = np.flatnonzero((ours != theirs).any(axis=(1, 2, 3)))
    if len(differing):
        return f"the GPU's pictures are not PyAV's: frames {differing.tolist()} of {_COUNT} differ"
    return ""


def _write_clip(path: str) -> None:
    with av.open(path, "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=_RATE, options=_X264)
        stream.width, stream.height, stream.pix_fmt = _WIDTH, _HEIGHT, "yuv420p"
        for number in range(_COUNT):
            container.mux(stream.encode(VideoFrame.from_ndarray(_painted(number), format="rgb24")))
        container.mux(stream.encode())


def _painted(number: int) -> Frames:
    """Return noise that moves over a gradient, so that every frame differs and refers to others."""
    noise = np.random.default_rng(0).integers(0, 64, (_HEIGHT, _WIDTH, 3), dtype=np.uint8)
    slope = np.linspace(0, 191, _WIDTH, dtype=np.uint8)[None, :, None]
    return np.roll(noise, 5 * number, axis=1) + np.roll(slope, 7 * number, axis=1)
