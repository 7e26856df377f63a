"""Footage of a source: the pictures of a photo, or of a shot without cuts, upright, RGB, in memory."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import av
import cv2
import numpy as np

from inference.types import Frames

SHOT_SECONDS = 3.0
LONGEST_SIDE_PIXELS = 2200  # of a photo; a larger one is scaled down first
CUT_LEVELS = 25.0  # mean difference of neighbouring frames at 64 x 36, of 255 levels, that counts as a cut


@dataclass(frozen=True, slots=True)
class Footage:
    """One picture ``(1, H, W, 3)``, or the frames of a shot ``(N, H, W, 3)`` with their rate in frames a second."""

    pictures: Frames
    fps: float

    @property
    def is_photo(self) -> bool:
        """True for one still picture."""
        return len(self.pictures) == 1

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) in pixels."""
        return self.pictures.shape[1], self.pictures.shape[2]


def read_photo(path: Path) -> Footage:
    """Read a photo; raises ``ValueError`` for a file that is no picture."""
    picture = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if picture is None:
        raise ValueError(f"{path} is no picture that OpenCV reads")
    scale = LONGEST_SIDE_PIXELS / max(picture.shape[:2])
    if scale < 1:
        picture = cv2.resize(picture, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    return Footage(np.ascontiguousarray(picture[None, :, :, ::-1]), 25.0)


def read_sticker(path: Path) -> Frames:
    """Read a picture with transparency as ``(H, W, 4)`` RGBA; opaque if it has none."""
    picture = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    if picture is None or picture.ndim != 3:
        raise ValueError(f"{path} is no colour picture")
    if picture.shape[2] == 3:
        picture = np.dstack([picture, np.full(picture.shape[:2], 255, np.uint8)])
    return np.ascontiguousarray(picture[:, :, [2, 1, 0, 3]])


def read_shots(path: Path, count: int) -> list[Footage]:
    """Read up to ``count`` shots without cuts, spread evenly over a video."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        fps = float(stream.average_rate or 25)
        duration = float((container.duration or 0) / av.time_base)
    starts = np.linspace(0, max(0.0, duration - SHOT_SECONDS - 0.2), count) if duration > 2 * SHOT_SECONDS else [0.0]
    wanted = [start for i, start in enumerate(starts) if i == 0 or start - starts[i - 1] > SHOT_SECONDS / 2]
    read = (Footage(frames, fps) for frames in _spans(path, wanted, fps))
    return [shot for shot in read if not shot.is_photo and not _has_cut(shot.pictures)]


def _spans(path: Path, starts: list[float], fps: float) -> Iterator[Frames]:
    """Yield the frames of the span that begins at each of ``starts``, in one pass over the file."""
    longest = round(SHOT_SECONDS * fps)
    firsts = [round(start * fps) for start in starts]
    kept: dict[int, list[Frames]] = {first: [] for first in firsts}
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        stream.thread_type = "AUTO"
        for place, frame in enumerate(container.decode(stream)):
            for first in firsts:
                if first <= place < first + longest:
                    kept[first].append(np.asarray(frame.to_ndarray(format="rgb24"), np.uint8))
    yield from (np.stack(frames) for frames in kept.values() if len(frames) > longest // 2)


def _has_cut(frames: Frames) -> bool:
    small = np.stack([cv2.resize(one, (64, 36), interpolation=cv2.INTER_AREA) for one in frames]).astype(np.float32)
    return bool(np.abs(np.diff(small, axis=0)).mean(axis=(1, 2, 3)).max() > CUT_LEVELS)
