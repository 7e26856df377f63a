"""Lasting regions and the crop without them, from boxes on sampled frames. Pure.

A logo, a border or a burnt-in caption stays at its place; a box that is seen only briefly is content. So a box counts
only when most sampled frames show it, and the crop is the largest rectangle that touches no such box.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from math import ceil, floor

from inference.types import Crop, Detection

Box = tuple[float, float, float, float]  # x1, y1, x2, y2 in pixels

MIN_IOU = 0.5  # of boxes that belong to one track
_BAND_HEIGHT, _BAND_WIDTH = 0.7, 0.9  # shares that bands must have in common: lines of a caption differ in length


class NoCrop(StrEnum):
    """Reasons for making no crop, each with a stable code."""

    UNTRAINED = "untrained"  # boxes of seeded weights mean nothing
    RECORD_ONLY = "record_only"  # the manifest allows no crop
    TOO_FEW_FRAMES = "too_few_frames"  # fewer frames were inspected than the rule needs
    NO_LASTING_REGION = "no_lasting_region"  # no lasting region, or none inside the picture
    TOO_LITTLE_LEFT = "too_little_left"  # the largest crop keeps less than the rule's share


@dataclass(frozen=True, slots=True)
class Region:
    """A region that most sampled frames show at the same place."""

    label: str  # the most frequent label of its boxes
    box: Box  # around all of its boxes
    presence: float  # share of the sampled frames that show it
    score: float  # mean of its boxes' scores


@dataclass(frozen=True, slots=True, kw_only=True)
class CropRule:
    """Conditions for making a crop. Shares are from 0 to 1."""

    min_presence: float = 0.6  # a region lasts when more than this share of the sampled frames shows it
    min_share: float = 0.5  # of the picture that a crop must keep
    min_frames: int = 3  # that must have been inspected
    margin: float = 0.0  # around every region, as a share of the picture's longer side
    labels: frozenset[str] | None = None  # of the regions that are cut off; None: of all
    refusal: NoCrop | None = None  # a reason to make no crop, whatever the boxes are


@dataclass(frozen=True, slots=True)
class CropDecision:
    """The lasting regions, the largest crop without them, and the reason not to make it (None: make it)."""

    regions: tuple[Region, ...]
    crop: Crop | None
    share: float  # of the picture that the crop keeps
    refusal: NoCrop | None

    @property
    def made(self) -> Crop | None:
        """The crop to make; None when there is a reason against it."""
        return self.crop if self.refusal is None else None


@dataclass(slots=True)
class _Track:
    """Boxes of one region through time."""

    hull: Box  # around all boxes
    mean: Box
    times: set[float] = field(default_factory=set)
    labels: Counter[str] = field(default_factory=Counter)
    scores: float = 0.0  # their sum

    def add(self, detection: Detection) -> None:
        count = len(self.times)
        self.mean = _running_mean(self.mean, count, detection.box)
        self.hull = _hull(self.hull, detection.box)
        self.times.add(detection.pts_seconds)
        self.labels[detection.label] += 1
        self.scores += detection.score

    def region(self, num_frames: int) -> Region:
        count = len(self.times)
        return Region(self.labels.most_common(1)[0][0], self.hull, count / num_frames, self.scores / count)


def decide_crop(
    detections: Iterable[Detection], num_frames: int, width: int, height: int, rule: CropRule
) -> CropDecision:
    """Decide about a crop from the boxes on ``num_frames`` sampled frames of a ``width`` x ``height`` pixel video."""
    regions = tuple(lasting_regions(detections, num_frames, min_presence=rule.min_presence))
    margin_pixels = rule.margin * max(width, height)
    unwanted = [region for region in regions if rule.labels is None or region.label in rule.labels]
    crop = safe_crop(width, height, [_grown(region.box, margin_pixels) for region in unwanted], 0.0)
    share = crop.width * crop.height / (width * height) if crop else 0.0
    return CropDecision(regions, crop, share, _refusal(crop, share, num_frames, width, height, rule))


def _refusal(
    crop: Crop | None, share: float, num_frames: int, width: int, height: int, rule: CropRule
) -> NoCrop | None:
    if rule.refusal is not None:
        return rule.refusal
    if num_frames < rule.min_frames:
        return NoCrop.TOO_FEW_FRAMES
    if crop == Crop(0, 0, _even_down(width), _even_down(height)):
        return NoCrop.NO_LASTING_REGION
    return NoCrop.TOO_LITTLE_LEFT if crop is None or share < rule.min_share else None


def lasting_regions(
    detections: Iterable[Detection], num_frames: int, *, min_presence: float = 0.5, min_iou: float = MIN_IOU
) -> list[Region]:
    """Regions that more than ``min_presence`` of the ``num_frames`` sampled frames show, largest first.

    A box joins a track, whatever its label, when it overlaps the mean of the track's boxes by ``min_iou`` (0 to 1),
    or lies in the same band. A box that moves through the picture soon overlaps its track's mean no more.
    """
    tracks: list[_Track] = []
    for found in sorted(detections, key=lambda detection: (detection.pts_seconds, -detection.score)):
        track = _best_track(tracks, found, min_iou)
        if track is None:
            track = _Track(found.box, found.box)
            tracks.append(track)
        track.add(found)
    lasting = [track.region(num_frames) for track in tracks if len(track.times) > min_presence * num_frames]
    return sorted(lasting, key=lambda region: _area(region.box), reverse=True)


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

    None when it is smaller than ``min_share`` (0 to 1) of the picture. Exact: every edge of the largest empty
    rectangle lies on the border or on a box, so no other rectangle is tried. O(n³ log n) in the number of boxes.

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
                continue  # the full height would not be larger either
            top, bottom = _tallest_gap(blocked, left, right, bottom_border)
            if (right - left) * (bottom - top) > best.width * best.height:
                best = Crop(left, top, right - left, bottom - top)
    is_enough = best.width * best.height >= min_share * width * height and best.width > 0
    return best if is_enough else None


_EvenBox = tuple[int, int, int, int]


def _tallest_gap(blocked: Sequence[_EvenBox], left: int, right: int, bottom_border: int) -> tuple[int, int]:
    """(top, bottom) of the tallest stretch between two columns without any box."""
    in_the_way = sorted((top, bottom) for x1, top, x2, bottom in blocked if x1 < right and x2 > left)
    return max(_gaps(in_the_way, bottom_border), key=lambda gap: gap[1] - gap[0])


def _gaps(spans: Iterable[tuple[int, int]], bottom_border: int) -> Iterator[tuple[int, int]]:
    reached = 0
    for top, bottom in spans:
        yield reached, max(reached, top)
        reached = max(reached, bottom)
    yield reached, max(reached, bottom_border)


def _grown_to_even(box: Box, right_border: int, bottom_border: int) -> _EvenBox | None:
    """Round outwards to even pixels and clip at the borders; None if nothing remains."""
    left, top = max(0, _even_down(box[0])), max(0, _even_down(box[1]))
    right, bottom = min(right_border, _even_up(box[2])), min(bottom_border, _even_up(box[3]))
    is_inside = left < right and top < bottom and box[0] < box[2] and box[1] < box[3]
    return (left, top, right, bottom) if is_inside else None


def _best_track(tracks: Sequence[_Track], found: Detection, min_iou: float) -> _Track | None:
    """The track that overlaps most, else one in the same band; tracks with a box on this frame do not count."""
    free = [track for track in tracks if found.pts_seconds not in track.times]
    best = max(free, key=lambda track: iou(track.mean, found.box), default=None)
    if best and iou(best.mean, found.box) >= min_iou:
        return best
    return next((track for track in free if _is_same_band(track.mean, found.box)), None)


def _is_same_band(one: Box, other: Box) -> bool:
    """Check that both lie on one line, one within the other, as captions of different lengths do."""
    heights = _span_overlap(one[1], one[3], other[1], other[3])
    widths = _span_overlap(one[0], one[2], other[0], other[2])
    tallest, narrowest = max(one[3] - one[1], other[3] - other[1]), min(one[2] - one[0], other[2] - other[0])
    return heights >= _BAND_HEIGHT * tallest > 0 and widths >= _BAND_WIDTH * narrowest > 0


def _span_overlap(start: float, stop: float, other_start: float, other_stop: float) -> float:
    return max(0.0, min(stop, other_stop) - max(start, other_start))


def _running_mean(mean: Box, count: int, box: Box) -> Box:
    x1, y1, x2, y2 = ((old * count + new) / (count + 1) for old, new in zip(mean, box, strict=True))
    return x1, y1, x2, y2


def _hull(one: Box, other: Box) -> Box:
    return min(one[0], other[0]), min(one[1], other[1]), max(one[2], other[2]), max(one[3], other[3])


def _grown(box: Box, pixels: float) -> Box:
    return box[0] - pixels, box[1] - pixels, box[2] + pixels, box[3] + pixels


def _area(box: Box) -> float:
    return (box[2] - box[0]) * (box[3] - box[1])


def _even_down(pixels: float) -> int:
    return 2 * floor(pixels / 2)


def _even_up(pixels: float) -> int:
    return 2 * ceil(pixels / 2)
