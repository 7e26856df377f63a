"""Decoder adapters for tests: one that fails as a file's first bytes tell it, decord's plain API, a double of a GPU."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import decord
import numpy as np
from av.video.reformatter import VideoReformatter

from inference.decode.decoders.adapter import Reading
from inference.decode.decoders.nvdec import checked_nvdec
from inference.decode.decoders.pyav import PyAv
from inference.decode.decoders.source import opened
from inference.decode.frames.timeline import Timeline
from inference.errors import BadVideo, VideoFault

CRASH, CRASH_ONCE, HANG, BOMB, BUG, EXIT = b"CRASH", b"CRSH1", b"HANG!", b"BOMB!", b"BUG!!", b"EXIT!"


class Hostile:
    """Obeys the order in the first five bytes of the file."""

    def __init__(self):
        self._pyav = PyAv()

    def probe(self, path, limits):
        obey(Path(path))
        return self._pyav.probe(path, limits)

    def read(self, path, timeline, wanted, frames, limits):
        return self._pyav.read(path, timeline, wanted, frames, limits)


def obey(path):
    with path.open("rb") as opened:
        order = opened.read(5)
    if order == CRASH:
        sys.stderr.write("about to crash\n")
        sys.stderr.flush()
        os.kill(os.getpid(), signal.SIGSEGV)
    elif order == CRASH_ONCE and not (mark := path.with_suffix(".crashed")).exists():
        mark.touch()
        os.kill(os.getpid(), signal.SIGABRT)
    elif order == HANG:
        signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())  # only SIGKILL ends it
        path.with_suffix(".hanging").touch()
        while True:
            signal.pause()
    elif order == BOMB:
        bytearray(1 << 40)
    elif order == BUG:
        raise KeyError("a bug in the adapter")
    elif order == EXIT:
        os._exit(7)


class NeverStarts:
    """An adapter whose constructor raises."""

    def __init__(self):
        raise RuntimeError("no such library here")


class UncheckedDecord:
    """decord as most programs use it: its own count of frames, its own times, and ``get_batch``."""

    def probe(self, path, limits):
        reader = _reader(path)
        pts_seconds = reader.get_frame_timestamp(range(len(reader)))[:, 0].astype(np.float64)
        pts_seconds -= pts_seconds[0]
        height, width = reader[0].shape[:2]
        return Timeline(
            container="unknown",
            codec="unknown",
            width=width,
            height=height,
            pts_seconds=pts_seconds,
            duration_seconds=float(pts_seconds[-1]) + 1 / reader.get_avg_fps(),
            ticks=None,
            readable_fraction=1.0,
        )

    def read(self, path, timeline, wanted, frames, limits):
        for spec, indices in wanted.items():
            reader = _reader(path, width=spec.width, height=spec.height)
            try:
                frames[spec][:] = reader.get_batch(indices).asnumpy()
            except decord.DECORDError as error:
                raise BadVideo(VideoFault.CORRUPT, str(error)) from error
        return Reading(timeline.width, timeline.height, 0, 1.0, "get_batch")


class StandInGpu:
    """A GPU's double: decodes on the CPU, and returns frames in the pixel formats of a GPU."""

    FORMATS = {"yuv420p": "nv12", "yuvj420p": "nv12", "yuv420p10le": "p010le"}  # noqa: RUF012 -- never changed

    def __init__(self):
        self.paths = []
        self._reformatter = VideoReformatter()

    def opened(self, path, limits):
        self.paths.append(path)
        return opened(path, limits)

    def fetched(self, frame):
        format_name = self.FORMATS.get(frame.format.name, frame.format.name)
        return self._reformatter.reformat(frame, format=format_name)


def nvdec_on_stand_in():
    """Return the adapter nvdec with a stand-in for the GPU."""
    return checked_nvdec(StandInGpu())


def _reader(path, **size):
    try:
        return decord.VideoReader(path, num_threads=1, **size)
    except (decord.DECORDError, RuntimeError) as error:
        raise BadVideo(VideoFault.NOT_A_VIDEO, str(error)) from error
