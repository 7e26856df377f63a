"""All signals of a video: series measured once, reduced for the whole video or for a window."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import ceil, floor, inf

import cv2
import numpy as np

from inference.decode.frames.sampling import uniform
from inference.signals.camera import camera_series
from inference.signals.changes import burst_series, content_scores, cuts, cuts_per_minute, frozen_series
from inference.signals.layout import Bars, find_bars, overlay_share
from inference.signals.light import light_series
from inference.signals.planes import Grey, grey
from inference.signals.quality import quality_series
from inference.signals.registry import NAMES, SIGNALS
from inference.signals.series import Series, reduced
from inference.signals.views import FrameViews, View, views_of, views_of_frames
from inference.types import DecodedVideo, Frames, PacketFacts, Seconds

MAX_LAYOUT_FRAMES = 24  # spread over the span: bars and overlays stay


@dataclass(frozen=True, slots=True)
class Analysis:
    """The signals of a video over time; :meth:`values` reduces them for a span of it."""

    series: Mapping[str, Series]
    overview: View
    planes: Grey  # of the overview, between the bars
    bars: Bars
    packets: PacketFacts | None

    def values(self, start_seconds: float = -inf, end_seconds: float = inf) -> dict[str, float]:
        """Return every signal, in the order of :data:`NAMES`, for the frames shown in ``[start, end)``.

        NaN stands for a signal that cannot be measured there.
        """
        by_name = {
            one.name: reduced(one.reduce, self.series[one.name].between(start_seconds, end_seconds))
            for one in SIGNALS
            if one.reduce is not None
        }
        by_name |= self._layout(start_seconds, end_seconds, by_name["still_points_share"])
        by_name["bits_per_pixel"] = bits_per_pixel(self.packets, start_seconds, end_seconds)
        return {name: by_name[name] for name in NAMES}

    def _layout(self, start_seconds: float, end_seconds: float, still_share: float) -> dict[str, float]:
        first, stop = np.searchsorted(self.overview.seconds, (start_seconds, end_seconds))
        if first == stop:
            return dict.fromkeys(("bars_share", "overlay_share"), float("nan"))
        chosen = first + uniform(int(stop - first), min(int(stop - first), MAX_LAYOUT_FRAMES))
        frames = self.overview.frames[chosen]
        return {
            "bars_share": find_bars(frames).share(frames.shape[2], frames.shape[1]),
            "overlay_share": overlay_share(self.planes[chosen], still_share),
        }


def measure(frames: Frames, seconds: Seconds, packets: PacketFacts | None = None) -> dict[str, float]:
    """Measure RGB ``frames`` (n, height, width, 3) of one clip, shown at ``seconds`` (ascending, (n,)).

    Give every frame, at the source's size: the signals choose those that they need. Signals of consecutive frames are
    NaN when the frames are further apart than a tenth of a second, and ``bits_per_pixel`` is without ``packets``.
    """
    return analyse_views(views_of_frames(frames, np.asarray(seconds, dtype=np.float64)), packets).values()


def analyse(decoded: DecodedVideo) -> Analysis:
    """Measure a video that was decoded with :data:`inference.signals.REQUESTS`.

    Raises:
        ValueError: it was decoded without them.
    """
    return analyse_views(views_of(decoded), decoded.probe.packets)


def analyse_views(views: FrameViews, packets: PacketFacts | None) -> Analysis:
    """Measure the views of a video. Everything but bars and overlays is measured between the bars."""
    if cv2.getNumThreads() != 1:
        cv2.setNumThreads(1)  # in the whole process: small pictures gain nothing from more, and waiting threads spin
    overview = views.overview
    bars = find_bars(overview.frames[uniform(len(overview.frames), min(len(overview.frames), MAX_LAYOUT_FRAMES))])
    rows, columns = bars.inner(overview.frames.shape[2], overview.frames.shape[1])
    inner = overview.frames[:, rows, columns]
    planes = grey(inner)
    seconds, steps = overview.seconds, (overview.seconds[1:] + overview.seconds[:-1]) / 2
    camera = camera_series(planes, seconds)
    found = cuts_per_minute(cuts(content_scores(inner), camera["tracked_points_share"]), seconds)
    by_step = {**camera, "frozen_share": frozen_series(planes), "cuts_per_minute": found}
    series = {name: Series(seconds, values) for name, values in light_series(inner, planes).items()}
    series |= {name: Series(steps, values) for name, values in by_step.items()}
    series |= burst_series([View(view.frames[:, rows, columns], view.seconds) for view in views.bursts])
    native = grey(_between_bars(views, bars))
    series |= {name: Series(views.native.seconds, values) for name, values in quality_series(native).items()}
    return Analysis(series, overview, planes, bars, packets)


def _between_bars(views: FrameViews, bars: Bars) -> Frames:
    """Cut what the bars cover off the native view, which shows the centre of the picture."""
    frames, (height, width) = views.native.frames, views.overview.frames.shape[1:3]
    rows = _kept(frames.shape[1], views.height, bars.top / height, bars.bottom / height)
    columns = _kept(frames.shape[2], views.width, bars.left / width, bars.right / width)
    return frames[:, rows, columns]


def _kept(shown: int, source: int, before: float, after: float) -> slice:
    """Pixels of a centred view of ``shown`` of ``source`` pixels that lie between bars, given as shares of the source.

    Two pixels more than a bar are cut off, as its edge is known only to the overview's pixel.
    """
    offset = (source - shown) / 2
    start = ceil(before * source - offset) + 2 if before else 0
    stop = floor((1 - after) * source - offset) - 2 if after else shown
    return slice(max(0, start), min(shown, max(stop, start + 1)))


def bits_per_pixel(packets: PacketFacts | None, start_seconds: float, end_seconds: float) -> float:
    """Bits of the packets in the seconds that begin in ``[start, end)``, for each pixel of their frames; else NaN."""
    if packets is None:
        return float("nan")
    seconds = np.arange(len(packets.bytes_per_second))
    chosen = (seconds >= start_seconds) & (seconds < end_seconds)
    frames = int(np.array(packets.frames_per_second, dtype=np.int64)[chosen].sum())
    bits = 8 * int(np.array(packets.bytes_per_second, dtype=np.int64)[chosen].sum())
    return bits / (frames * packets.pixels) if frames else float("nan")
