"""Layout of the picture over time: plain bars at its edges, and overlays that stay while the rest moves."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from inference.signals.planes import Grey
from inference.types import Frames

PLAIN_DEVIATION = 4.0  # grey levels along a line: the noise that an encoder leaves in a bar
SAME_COLOUR = 6.0  # grey levels between lines of one bar, and over time
STEP = 16.0  # grey levels from the bar to the picture
STEP_SHARE = 0.5  # of the line's pixels that must differ by a step in some frame
MIXED_LINES = 2  # between bar and picture, made by scaling
MIN_BAR_SHARE = 0.02  # of the side; narrower ones are encoders' padding
MAX_BARS_SHARE = 0.8  # of a side, both bars together: more is a dark picture
MIN_OVERLAY_GRADIENT = 96.0  # of Sobel's filter, four times the difference between neighbours but one
MAX_OVERLAY_SPREAD = 0.5  # between its quartiles over time, as a share of its median
MIN_OVERLAY_FRAMES = 4
MAX_OVERLAY_SHARE = 0.25  # of the picture: more is a still background
MAX_STILL_SHARE = 0.2  # of the tracked points: in a slow pan long edges stay, too

Colour = npt.NDArray[np.float32]  # RGB


@dataclass(frozen=True, slots=True)
class Bars:
    """Widths of the bars at the four edges, in pixels."""

    left: int
    top: int
    right: int
    bottom: int

    def share(self, width: int, height: int) -> float:
        """Share of a ``width`` x ``height`` picture that they cover, 0 to 1."""
        return 1 - (width - self.left - self.right) * (height - self.top - self.bottom) / (width * height)

    def inner(self, width: int, height: int) -> tuple[slice, slice]:
        """Rows and columns of the picture between them."""
        return slice(self.top, height - self.bottom), slice(self.left, width - self.right)


def find_bars(frames: Frames) -> Bars:
    """Find bars of one colour at the edges of frames (n, height, width, 3), over all frames together.

    A line from the edge belongs to a bar while it is plain and keeps the colour of the first line in all frames, as
    cropdetect of FFmpeg does for black by the brightest frame; a bar must end in a step along most of the line, which
    dark scenes and skies do not.
    """
    top, bottom = _ends(frames)
    left, right = _ends(frames[:, top : frames.shape[1] - bottom].transpose(0, 2, 1, 3))
    return Bars(left, top, right, bottom)


def _ends(frames: Frames) -> tuple[int, int]:
    """Lines of the bars before the first and after the last line of axis 1."""
    first, last = _bar(frames), _bar(frames[:, ::-1])
    return (0, 0) if first + last > MAX_BARS_SHARE * frames.shape[1] else (first, last)


def _bar(frames: Frames) -> int:
    """Lines of axis 1 from the first one that form a bar; the search ends at the first line that does not."""
    count = frames.shape[1]
    colour = np.median(frames[:, 0].mean(axis=1, dtype=np.float32), axis=0)
    lines = next((line for line in range(count) if not _is_bar_line(frames[:, line], colour)), count)
    if lines < MIN_BAR_SHARE * count or lines == count:
        return 0
    beyond = np.abs(frames[:, lines : lines + 1 + MIXED_LINES].astype(np.float32) - colour).max(axis=(1, 3))
    return lines if np.mean(beyond >= STEP, axis=1).max() >= STEP_SHARE else 0


def _is_bar_line(line: Frames, colour: Colour) -> bool:
    """Check a line (n, pixels, 3): plain, and of the bar's colour, in nearly all frames."""
    singles = line.astype(np.float32)
    is_plain = np.quantile(singles.std(axis=1).max(axis=1), 0.95) <= PLAIN_DEVIATION
    return bool(is_plain and np.abs(singles.mean(axis=1) - colour).max() <= SAME_COLOUR)


def overlay_map(planes: Grey) -> npt.NDArray[np.bool_]:
    """Mark the pixels of edges that stay at their place, from grey frames of different moments (n, height, width).

    The median over time of the gradient, as in Dekel et al., "On the effectiveness of visible watermarks" (2017): of
    a picture that moves it is near zero, of an overlay it is the overlay's own. Its quartiles must be near, too, as
    the median of a few frames of coarse texture is not near zero.
    """
    gradients = np.stack([_gradient(one) for one in planes])
    ordered = np.sort(gradients, axis=0)
    count = len(ordered)
    middle = np.hypot(*ordered[count // 2])
    spread = np.hypot(*(ordered[count - 1 - count // 4] - ordered[count // 4]))
    return np.asarray((middle >= MIN_OVERLAY_GRADIENT) & (spread <= MAX_OVERLAY_SPREAD * middle), dtype=np.bool_)


def overlay_share(planes: Grey, still_share: float) -> float:
    """Share of the picture around edges that stay, 0 to 1; a dilation by 2 pixels fills letters.

    NaN when nothing can be told: fewer than four frames, or a picture most of which stays (``still_share``: of the
    tracked points, NaN if unknown).
    """
    if len(planes) < MIN_OVERLAY_FRAMES or not still_share < MAX_STILL_SHARE:
        return float("nan")
    marked = overlay_map(planes).astype(np.uint8)
    share = float(np.asarray(cv2.dilate(marked, np.ones((5, 5), np.uint8))).mean())
    return share if share <= MAX_OVERLAY_SHARE else float("nan")


def _gradient(plane: npt.NDArray[np.uint8]) -> npt.NDArray[np.int16]:
    """Sobel's gradient across and down: shape (2, height, width)."""
    across = np.asarray(cv2.Sobel(plane, cv2.CV_16S, 1, 0), dtype=np.int16)
    return np.stack([across, np.asarray(cv2.Sobel(plane, cv2.CV_16S, 0, 1), dtype=np.int16)])
