"""From boxes on sampled frames to the part of the picture that is worth keeping. Pure.

A logo, a border or a burnt-in caption stays where it is; what flashes by is content. So a box counts only when
it is there in most sampled frames, and the crop is the largest rectangle that touches no such box.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from math import ceil, floor

from inference.types import Detection

Box = tuple[float, float, float, float]  # x1, y1, x2, y2 in pixels


@dataclass(frozen=True, slots=True)
class Crop:
    """A part of the picture in pixels; all four are even, as 4:2:0 video needs."""

    left: int
    top: int
    width: int
    height: int


@dataclass(slots=True)
class _Track:
    """The sightings of one box through time."""

    hull: Box  # around all of them
    mean: Box
    times: set[float] = field(default_factory=set)

    def see(self, sighting: Detection) -> None:
        seen = len(self.times)
        self.mean = _mixed(self.mean, seen, sighting.box)
        self.hull = _hull(self.hull, sighting.box)
        self.times.add(sighting.pts_seconds)


def persistent_boxes(
    detections: Iterable[Detection], num_frames: int, *, min_presence: float = 0.5, min_iou: float = 0.5
) -> list[Box]:
    """Boxes that are there in more than ``min_presence`` of the ``num_frames`` sampled frames, largest first.

    Sightings belong together, whatever their labels, while each overlaps the mean of those before (IoU, 0 to 1)
    by ``min_iou``: what walks through the picture leaves its mean behind. The answer is the hull around them.
    """
    tracks: list[_Track] = []
    for sighting in sorted(detections, key=lambda detection: (detection.pts_seconds, -detection.score)):
        track = _best_track(tracks, sighting, min_iou)
        if track is None:
            track = _Track(sighting.box, sighting.box)
            tracks.append(track)
        track.see(sighting)
    lasting = [track.hull for track in tracks if len(track.times) > min_presence * num_frames]
    return sorted(lasting, key=_area, reverse=True)


def iou(one: Box, other: Box) -> float:
    """Intersection over union of two boxes, 0 to 1.

    >>> round(iou((0, 0, 2, 2), (1, 0, 3, 2)), 3)
    0.333
    """
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    if width <= 0 or height <= 0:
        return 0.0
    shared = width * height
    return shared / (_area(one) + _area(other) - shared)


def safe_crop(width: int, height: int, boxes: Iterable[Box], min_share: float) -> Crop | None:
    """The largest even-sized rectangle of a ``width`` x ``height`` picture that touches no box.

    None when it is smaller than ``min_share`` (0 to 1) of the picture. Exact: an edge of the largest empty
    rectangle lies on the border or on a box, so trying those is trying all. O(n³ log n) in the number of boxes.

    >>> safe_crop(100, 80, [(80, 0, 100, 10)], 0.5)
    Crop(left=0, top=10, width=100, height=70)
    """
    right_border, bottom_border = _even_down(width), _even_down(height)
    blocked = [grown for box in boxes if (grown := _grown_to_even(box, right_border, bottom_border))]
    lefts = {0, *(right for _, _, right, _ in blocked)}
    rights = {right_border, *(left for left, _, _, _ in blocked)}
    best = Crop(0, 0, 0, 0)
    for left in sorted(lefts):
        for right in sorted(rights):
            if (right - left) * bottom_border <= best.width * best.height:
                continue  # not even the full height would win
            top, bottom = _tallest_gap(blocked, left, right, bottom_border)
            if (right - left) * (bottom - top) > best.width * best.height:
                best = Crop(left, top, right - left, bottom - top)
    is_enough = best.width * best.height >= min_share * width * height and best.width > 0
    return best if is_enough else None


_EvenBox = tuple[int, int, int, int]


def _tallest_gap(blocked: Sequence[_EvenBox], left: int, right: int, bottom_border: int) -> tuple[int, int]:
    """(top, bottom) of the tallest stretch between two columns that no box reaches into."""
    in_the_way = sorted((top, bottom) for x1, top, x2, bottom in blocked if x1 < right and x2 > left)
    return max(_gaps(in_the_way, bottom_border), key=lambda gap: gap[1] - gap[0])


def _gaps(spans: Iterable[tuple[int, int]], bottom_border: int) -> Iterator[tuple[int, int]]:
    reached = 0
    for top, bottom in spans:
        yield reached, max(reached, top)
        reached = max(reached, bottom)
    yield reached, max(reached, bottom_border)


def _grown_to_even(box: Box, right_border: int, bottom_border: int) -> _EvenBox | None:
    """Round outwards to even pixels and cut at the borders; None if nothing is left of it."""
    left, top = max(0, _even_down(box[0])), max(0, _even_down(box[1]))
    right, bottom = min(right_border, _even_up(box[2])), min(bottom_border, _even_up(box[3]))
    is_inside = left < right and top < bottom and box[0] < box[2] and box[1] < box[3]
    return (left, top, right, bottom) if is_inside else None


def _best_track(tracks: Sequence[_Track], sighting: Detection, min_iou: float) -> _Track | None:
    """The track that overlaps it most, unless that one has its sighting of this frame."""
    unseen = [track for track in tracks if sighting.pts_seconds not in track.times]
    best = max(unseen, key=lambda track: iou(track.mean, sighting.box), default=None)
    return best if best and iou(best.mean, sighting.box) >= min_iou else None


def _mixed(mean: Box, count: int, box: Box) -> Box:
    x1, y1, x2, y2 = ((old * count + new) / (count + 1) for old, new in zip(mean, box, strict=True))
    return x1, y1, x2, y2


def _hull(one: Box, other: Box) -> Box:
    return min(one[0], other[0]), min(one[1], other[1]), max(one[2], other[2]), max(one[3], other[3])


def _area(box: Box) -> float:
    return (box[2] - box[0]) * (box[3] - box[1])


def _even_down(pixels: float) -> int:
    return 2 * floor(pixels / 2)


def _even_up(pixels: float) -> int:
    return 2 * ceil(pixels / 2)
