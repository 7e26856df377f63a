"""A detector of abnormal regions that needs no weights: plain bars, and overlays that stay while the picture moves.

Bars are found on all frames together, with a step along most of their edge, so that they may lead to a crop. Overlays
are the connected parts of edges that stay; a still background has such edges, too, so that they are looked for only
where most of the picture changes, and are better recorded than acted on.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np

from inference.decode.frames.sampling import uniform
from inference.signals.layout import find_bars, overlay_map
from inference.signals.planes import Grey, grey
from inference.signals.views import content
from inference.types import Clip, DecodedVideo, Detection, Frames

VERSION = "signals-1"  # of what it finds: other boxes need another
MAX_FRAMES = 24
OVERLAY_SIDE = 480  # pixels of the longer side, to which frames are scaled for overlays
MIN_FRAMES = 4  # for overlays
MIN_CHANGE = 8.0  # grey levels: deviation over time of half of the pixels, below it the picture stands still
EDGE_LINES = 4  # of a bar, blurred by scaling
JOIN_PIXELS = 9  # edges nearer than this are one overlay
MIN_AREA, MAX_AREA = 0.0008, 0.12  # of the picture
MIN_HEIGHT, MAX_HEIGHT = 0.02, 0.3  # of the picture's
MIN_DENSITY = 0.12  # of the box, in edges that stay
CAPTION_ASPECT = 4.0  # a wider box is a line of text

Box = tuple[float, float, float, float]  # x1, y1, x2, y2 in pixels


@dataclass(frozen=True, slots=True)
class SignalDetector:
    """Finds bars, logos and captions; thread-safe, as it holds nothing."""

    def detect(self, decoded: DecodedVideo, clip: Clip) -> list[Detection]:
        """Return the boxes in pixels of the source picture: each on every frame of ``clip``, as they stay."""
        picture, probe = decoded.pictures[clip.request.picture], decoded.probe
        rows, columns = content(clip.request.picture, probe.width, probe.height)
        frames = picture.frames[clip.indices][:, rows, columns]
        scale = probe.width / frames.shape[2], probe.height / frames.shape[1]
        found = [(label, score, _scaled(box, *scale)) for label, score, box in find_regions(frames)]
        return [
            Detection(seconds, label, score, box)
            for seconds in picture.pts_seconds[clip.indices].tolist()
            for label, score, box in found
        ]

    def warm_up(self) -> None:
        """Do nothing: the first call is as fast as the others."""


def find_regions(frames: Frames) -> list[tuple[str, float, Box]]:
    """Return label, score and box of the regions that stay on frames (n, height, width, 3), in their pixels."""
    few = frames[uniform(len(frames), min(len(frames), MAX_FRAMES))]
    height, width = few.shape[1:3]
    bars = find_bars(few)
    edges = {
        (0.0, 0.0, float(width), float(bars.top)): bars.top,
        (0.0, float(height - bars.bottom), float(width), float(height)): bars.bottom,
        (0.0, 0.0, float(bars.left), float(height)): bars.left,
        (float(width - bars.right), 0.0, float(width), float(height)): bars.right,
    }
    found = [("border", 1.0, box) for box, lines in edges.items() if lines]
    left, top = _past(bars.left), _past(bars.top)
    inner = few[:, top : height - _past(bars.bottom), left : width - _past(bars.right)]
    return found + [(label, score, _moved(box, left, top)) for label, score, box in _overlays(inner)]


def _past(lines: int) -> int:
    """Lines up to behind a bar's own edge, which stays as an overlay does."""
    return lines + EDGE_LINES if lines else 0


def _overlays(frames: Frames) -> Iterator[tuple[str, float, Box]]:
    height, width = frames.shape[1:3]
    scale = min(1.0, OVERLAY_SIDE / max(height, width))
    planes = grey(frames)
    if scale < 1:
        size = max(8, round(width * scale)), max(8, round(height * scale))
        planes = np.stack([np.asarray(cv2.resize(one, size, interpolation=cv2.INTER_AREA), np.uint8) for one in planes])
    if len(planes) < MIN_FRAMES or np.median(planes.std(axis=0)) < MIN_CHANGE:
        return
    for label, score, box in _components(planes):
        yield label, score, _scaled(box, width / planes.shape[2], height / planes.shape[1])


def _components(planes: Grey) -> Iterator[tuple[str, float, Box]]:
    marked = overlay_map(planes).astype(np.uint8)
    joined = cv2.morphologyEx(marked, cv2.MORPH_CLOSE, np.ones((JOIN_PIXELS, JOIN_PIXELS), np.uint8))
    found = cv2.connectedComponentsWithStats(joined)[2]
    height, width = marked.shape
    for left, top, across, down, _ in np.asarray(found)[1:].tolist():  # the first is the rest of the picture
        density = float(marked[top : top + down, left : left + across].mean())
        area = across * down / (width * height)
        if MIN_AREA <= area <= MAX_AREA and MIN_HEIGHT <= down / height <= MAX_HEIGHT and density >= MIN_DENSITY:
            label = "caption" if across >= CAPTION_ASPECT * down else "logo"
            yield label, min(1.0, 2 * density), (left, top, left + across, top + down)


def _scaled(box: Box, across: float, down: float) -> Box:
    return box[0] * across, box[1] * down, box[2] * across, box[3] * down


def _moved(box: Box, right: int, down: int) -> Box:
    return box[0] + right, box[1] + down, box[2] + right, box[3] + down
