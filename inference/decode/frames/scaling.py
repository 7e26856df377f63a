"""Scaling a decoded FFmpeg frame to every wanted picture: one libswscale pass each, directly into shared memory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import cast

import numpy as np
from av.buffer import Buffer
from av.sidedata.sidedata import SideDataContainer
from av.video.frame import VideoFrame
from av.video.reformatter import Interpolation, VideoReformatter

from inference.decode.frames.fit import place, placement
from inference.decode.frames.orientation import UPRIGHT, Orientation, orientation
from inference.types import Frames, Indices, PictureSpec

# As decord resizes, so that scores stay comparable; bit-exact on every CPU.
INTERPOLATION = Interpolation.BILINEAR | Interpolation.ACCURATE_RND | Interpolation.BITEXACT


class PictureWriter:
    """Fills the frames of one :class:`PictureSpec`."""

    def __init__(self, spec: PictureSpec, wanted: Indices, frames: Frames) -> None:
        self._spec = spec
        self._row = {position: row for row, position in enumerate(wanted.tolist())}
        self._frames = frames
        self._filled = np.zeros(len(frames), dtype=np.bool_)
        self._reformatter = VideoReformatter()  # caches its tables: one per picture

    def write(self, frame: VideoFrame, turned: Orientation, positions: Sequence[int]) -> None:
        """Write one frame at those of the positions that this picture wants."""
        rows = [self._row[position] for position in positions if position in self._row]
        if not rows:
            return
        placed = placement(self._spec, *turned.upright_size(frame.width, frame.height))
        scaled = self._scaled(frame, *turned.upright_size(placed.width, placed.height))
        for row in rows:
            place(turned.turn(scaled), placed, self._frames[row])
        self._filled[rows] = True

    def fill_gaps(self) -> None:
        """Repeat the nearest written frame where none came."""
        written = np.flatnonzero(self._filled)
        for row in np.flatnonzero(~self._filled):
            self._frames[row] = self._frames[written[np.abs(written - row).argmin()]]

    def _scaled(self, frame: VideoFrame, width: int, height: int) -> Frames:
        scaled = self._reformatter.reformat(
            frame, width=width, height=height, format="rgb24", interpolation=INTERPOLATION, threads=1
        )
        plane = scaled.planes[0]
        rows = np.frombuffer(memoryview(plane), dtype=np.uint8).reshape(height, plane.line_size)
        return rows[:, : width * 3].reshape(height, width, 3)  # libswscale pads its rows


class FrameWriter:
    """Fills every wanted picture, and keeps the orientation and size of the source."""

    def __init__(self, wanted: Mapping[PictureSpec, Indices], frames: Mapping[PictureSpec, Frames]) -> None:
        self._writers = [PictureWriter(spec, indices, frames[spec]) for spec, indices in wanted.items()]
        self.orientation = UPRIGHT  # of the last frame written
        self.upright_size: tuple[int, int] | None = None  # of the first frame written

    def write(self, frame: VideoFrame, positions: Sequence[int]) -> None:
        """Write one frame wherever it is wanted."""
        self.orientation = orientation(display_matrix(frame))
        self.upright_size = self.upright_size or self.orientation.upright_size(frame.width, frame.height)
        for writer in self._writers:
            writer.write(frame, self.orientation, positions)

    def fill_gaps(self) -> None:
        """Fill the rows of every picture for which no frame was written."""
        for writer in self._writers:
            writer.fill_gaps()


def display_matrix(frame: VideoFrame) -> bytes | None:
    """Return the display matrix of a frame, or None if it has none."""
    # Not frame.side_data, which the frame keeps while it refers back to the frame: then every picture stays in memory
    # until the next cyclic garbage collection, hundreds of megabytes in a 1080p video.
    side_data = SideDataContainer(frame)  # type: ignore[call-arg]  # missing in PyAV's stubs
    matrix = cast("Buffer | None", side_data.get("DISPLAYMATRIX"))
    return None if matrix is None else bytes(matrix)
