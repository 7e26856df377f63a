"""Where a letterboxed picture lies in its frame, as YOLO is trained: longest edge scaled, padding on both sides."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

Box = tuple[float, float, float, float]  # x1, y1, x2, y2 in pixels


@dataclass(frozen=True, slots=True)
class Letterbox:
    """The picture inside a frame: its left and top padding, width and height in pixels of the frame."""

    left: int
    top: int
    width: int
    height: int
    source_width: int
    source_height: int

    @classmethod
    def of(cls, source_width: int, source_height: int, frame_width: int, frame_height: int) -> Self:
        """The placement of a source picture; an odd pixel of padding goes right and below."""
        scale = min(frame_width / source_width, frame_height / source_height)
        width = min(frame_width, max(1, round(source_width * scale)))
        height = min(frame_height, max(1, round(source_height * scale)))
        left, top = (frame_width - width) // 2, (frame_height - height) // 2
        return cls(left, top, width, height, source_width, source_height)

    def to_source(self, box: Box) -> Box:
        """``box`` of the frame in pixels of the source picture, clipped to it."""
        across, down = self.source_width / self.width, self.source_height / self.height
        x1, x2 = (_clip((x - self.left) * across, self.source_width) for x in (box[0], box[2]))
        y1, y2 = (_clip((y - self.top) * down, self.source_height) for y in (box[1], box[3]))
        return x1, y1, x2, y2


def _clip(value: float, limit: int) -> float:
    return min(max(value, 0.0), float(limit))
