"""Frames of video files, pictures and directories, one after the other and round again for as long as they are read."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, cast

import av

from inference.errors import ProfilingError
from inference.types import Frames

VIDEOS = (".mp4", ".mkv", ".mov", ".avi", ".webm", ".mpg", ".mpeg", ".ts", ".m4v", ".flv", ".wmv")
PICTURES = (".jpg", ".jpeg", ".png", ".bmp", ".webp")
SUFFIXES = frozenset({*VIDEOS, *PICTURES})


@dataclass(frozen=True, slots=True)
class SourceFrame:
    """One frame ``(height, width, 3)`` RGB, and the folder that its file lies in: its class, when it has one."""

    pixels: Frames
    label: str = ""


@dataclass(frozen=True, slots=True)
class StepFrames:
    """The frames of one step, and how they came."""

    frames: Sequence[SourceFrame]
    wait_seconds: float = 0.0  # for frames that had not arrived; 0 where the step reads them itself
    age_seconds: float = 0.0  # how long the oldest of them has waited in the queue
    lost_frames: int = 0  # since the start: dropped by a full queue, or estimated for an outage


class FrameReader(Protocol):
    """A source of frames that never ends."""

    def read(self, count: int) -> StepFrames:
        """The next ``count`` frames. ProfilingError when no more come."""
        ...

    def close(self) -> None:
        """Give the source back."""
        ...


class FileReader:
    """Reads frames in the calling thread."""

    def __init__(self, frames: Iterator[SourceFrame]) -> None:
        self._frames = frames

    def read(self, count: int) -> StepFrames:
        """The next ``count`` frames, decoded now."""
        return StepFrames([next(self._frames) for _ in range(count)])

    def close(self) -> None:
        """Nothing is held between reads but the open file, which the iterator's end closes."""


def file_frames(root: Path) -> Iterator[SourceFrame]:
    """Frames of a file, or of every video and picture below a directory in the order of their names, without end.

    Raises:
        ProfilingError: there is no such path, nothing in it is a video or a picture, or a file cannot be decoded.
    """
    return _endless(root, media_files(root))


def media_files(root: Path) -> list[Path]:
    """The file itself, or every video and picture below a directory, in the order of their names.

    Raises:
        ProfilingError: there is none.
    """
    if not root.exists():
        raise ProfilingError(
            f"input {str(root)!r} does not exist: give a file, a directory, a camera's number or a URL"
        )
    if root.is_file():
        return [root]
    found = sorted(path for path in root.rglob("*") if path.suffix.lower() in SUFFIXES and path.is_file())
    if not found:
        raise ProfilingError(f"input {str(root)!r} holds no video or picture ({', '.join(sorted(SUFFIXES))})")
    return found


def decode_frames(path: Path | str, *, label: str = "") -> Iterator[SourceFrame]:
    """Yield the frames of one video or picture, as they are stored: a rotation that the file states is not applied.

    Raises:
        ProfilingError: it cannot be decoded.
    """
    try:
        with av.open(str(path)) as container:
            if not container.streams.video:
                raise ProfilingError(f"{path} has no video stream: leave it out of the input")
            for frame in container.decode(video=0):
                yield SourceFrame(pixels_of(frame), label)
    except av.FFmpegError as error:
        raise ProfilingError(f"{path} cannot be decoded ({error}): leave it out of the input") from error


def pixels_of(frame: av.VideoFrame) -> Frames:
    """The frame as ``(height, width, 3)`` uint8 RGB."""
    return cast("Frames", frame.to_ndarray(format="rgb24"))


def _endless(root: Path, paths: Sequence[Path]) -> Iterator[SourceFrame]:
    while True:
        is_empty = True
        for path in paths:
            for frame in decode_frames(path, label="" if path.parent in {root, root.parent} else path.parent.name):
                is_empty = False
                yield frame
        if is_empty:
            raise ProfilingError(f"input {str(root)!r} yields no frames: the videos in it are empty")
