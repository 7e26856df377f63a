"""Turning a picture upright by the display matrix that phones write. Pure."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from inference.types import Frames


@dataclass(frozen=True, slots=True)
class Orientation:
    """A transposition, then flips: the four rotations of a camera, each plain or mirrored."""

    is_transposed: bool = False
    flips_x: bool = False
    flips_y: bool = False

    @property
    def rotation_degrees(self) -> int:
        """Clockwise rotation; mirroring is not counted."""
        if self.is_transposed:
            return 90 if self.flips_x else 270
        return 180 if self.flips_y else 0

    @property
    def is_mirrored(self) -> bool:
        """True if no rotation alone turns the picture upright."""
        return (self.flips_x != self.flips_y) != self.is_transposed

    def upright_size(self, width: int, height: int) -> tuple[int, int]:
        """(width, height) in pixels after turning; its own inverse."""
        return (height, width) if self.is_transposed else (width, height)

    def turn(self, frame: Frames) -> Frames:
        """Return a view of one frame (height, width, 3), upright."""
        upright = frame.swapaxes(0, 1) if self.is_transposed else frame
        return upright[:: -1 if self.flips_y else 1, :: -1 if self.flips_x else 1]


UPRIGHT = Orientation()


def orientation(display_matrix: bytes | None) -> Orientation:
    """Read FFmpeg's display matrix: nine native int32, (x, y) -> (a x + c y, b x + d y), in ``a b u c d v …`` order.

    Angles that are not a multiple of 90 degrees snap to the nearest one.
    """
    if display_matrix is None:
        return UPRIGHT
    a, b, _, c, d = np.frombuffer(display_matrix, dtype=np.int32)[:5].tolist()
    if abs(b) + abs(c) > abs(a) + abs(d):
        return Orientation(is_transposed=True, flips_x=c < 0, flips_y=b < 0)
    return Orientation(is_transposed=False, flips_x=a < 0, flips_y=d < 0)
