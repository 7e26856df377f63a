"""The signals, as data: unit, view, reduction over time, and the default rule of a filter with its reason.

A filter's rule says above which value (``maximum``) or below which (``minimum``) its label holds, and how far on both
sides of that the answer is *unsure*.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from inference.signals.series import Reducer, mean, median, upper_quartile


class ViewName(StrEnum):
    """The frames or packets that a signal is measured on; :mod:`inference.signals.views`."""

    OVERVIEW = "overview"
    BURSTS = "bursts"
    NATIVE = "native"
    PACKETS = "packets"


@dataclass(frozen=True, slots=True, kw_only=True)
class Signal:
    """A named number of a video or of a window of it."""

    name: str
    unit: str
    view: ViewName
    meaning: str
    label: str  # of a filter by this signal alone
    maximum: float | None = None  # above it the label holds
    minimum: float | None = None  # below it the label holds
    unsure: float  # half the width of the band around the threshold without an answer, in the signal's unit
    reason: str  # of the threshold
    reduce: Reducer | None = None  # of its series over time; None: it is measured on all frames together


_OVERVIEW, _BURSTS, _NATIVE = ViewName.OVERVIEW, ViewName.BURSTS, ViewName.NATIVE

SIGNALS: tuple[Signal, ...] = (
    Signal(
        name="still_points_share",
        unit="share",
        view=_OVERVIEW,
        meaning="tracked points that move by less than half a pixel of 160 in a quarter of a second",
        label="static_video",
        maximum=0.8,
        unsure=0.1,
        reason="most of the picture stands still; the rest may be objects",
        reduce=mean,
    ),
    Signal(
        name="camera_speed",
        unit="longer sides/s",
        view=_OVERVIEW,
        meaning="speed of the picture's corners and centre by the fitted pan, zoom and roll",
        label="static_video",
        minimum=0.012,
        unsure=0.004,
        reason="half a pixel of 160 in a quarter of a second: what tracking cannot tell from rest",
        reduce=median,
    ),
    Signal(
        name="stillest_quarter_speed",
        unit="longer sides/s",
        view=_OVERVIEW,
        meaning="speed of tracked points in that quarter of the picture in which they move least",
        label="static_video",
        minimum=0.01,
        unsure=0.004,
        reason="as `camera_speed`; an object before a resting camera seldom fills all quarters",
        reduce=median,
    ),
    Signal(
        name="camera_pan",
        unit="longer sides/s",
        view=_OVERVIEW,
        meaning="speed of the picture's centre",
        label="fast_pan_video",
        maximum=0.5,
        unsure=0.1,
        reason="the picture's content is replaced within two seconds",
        reduce=median,
    ),
    Signal(
        name="camera_zoom",
        unit="1/s",
        view=_OVERVIEW,
        meaning="rate of the logarithm of the scale",
        label="zoom_video",
        maximum=0.05,
        unsure=0.02,
        reason="5 % a second: a zoom that is seen within a window",
        reduce=median,
    ),
    Signal(
        name="camera_roll",
        unit="degrees/s",
        view=_OVERVIEW,
        meaning="rate of turning about the optical axis",
        label="rolling_video",
        maximum=3.0,
        unsure=1.0,
        reason="12 degrees in a window: more than a hand's sway",
        reduce=median,
    ),
    Signal(
        name="camera_shake",
        unit="longer sides/s",
        view=_OVERVIEW,
        meaning="change of the pan's velocity from one quarter of a second to the next",
        label="shaky_video",
        maximum=0.08,
        unsure=0.03,
        reason="2 % of the side in a quarter of a second; a steady pan has none",
        reduce=mean,
    ),
    Signal(
        name="object_points_share",
        unit="share",
        view=_OVERVIEW,
        meaning="tracked points that do not follow the camera",
        label="busy_video",
        maximum=0.5,
        unsure=0.1,
        reason="most of the picture moves on its own",
        reduce=mean,
    ),
    Signal(
        name="tracked_coverage",
        unit="share",
        view=_OVERVIEW,
        meaning="part of the picture over which the tracked points spread; below 0.25 no camera signal is measured",
        label="untrackable_video",
        minimum=0.25,
        unsure=0.05,
        reason="points that spread less may all lie on one object",
        reduce=mean,
    ),
    Signal(
        name="frozen_share",
        unit="share",
        view=_OVERVIEW,
        meaning="frames, a quarter of a second apart, that equal the one before within 0.1 % of the range",
        label="frozen_video",
        maximum=0.5,
        unsure=0.1,
        reason="the tolerance of FFmpeg's freezedetect; frozen for most of the time",
        reduce=mean,
    ),
    Signal(
        name="cuts_per_minute",
        unit="1/min",
        view=_OVERVIEW,
        meaning="cuts between shots",
        label="cut_video",
        maximum=1.0,
        unsure=0.5,
        reason="a clip of one shot has none",
        reduce=mean,
    ),
    Signal(
        name="duplicate_share",
        unit="share",
        view=_BURSTS,
        meaning="consecutive frames that equal the one before within 0.02 % of the range",
        label="duplicate_frames_video",
        maximum=0.32,
        unsure=0.06,
        reason="above 24 frames shown as 30 (0.2), below every frame shown twice (at least 0.4 of 5 pairs)",
        reduce=mean,
    ),
    Signal(
        name="flicker",
        unit="share of the brightness",
        view=_BURSTS,
        meaning="amplitude of brightness that alternates from frame to frame",
        label="flickering_video",
        maximum=0.02,
        unsure=0.01,
        reason="twice the least contrast that is seen at 10 Hz, about 1 % (de Lange, 1958)",
        reduce=upper_quartile,
    ),
    Signal(
        name="luma",
        unit="share of white",
        view=_OVERVIEW,
        meaning="mean luma (BT.601)",
        label="dark_video",
        minimum=0.15,
        unsure=0.05,
        reason="15 % of white: detail is hard to see on a screen",
        reduce=mean,
    ),
    Signal(
        name="contrast",
        unit="share of the range",
        view=_OVERVIEW,
        meaning="luma between the darkest and the brightest 5 % of the pixels",
        label="flat_video",
        minimum=0.2,
        unsure=0.05,
        reason="a fifth of the range: fog and washed-out pictures",
        reduce=mean,
    ),
    Signal(
        name="dark_share",
        unit="share",
        view=_OVERVIEW,
        meaning="pixels darker than 16 of 255",
        label="underexposed_video",
        maximum=0.5,
        unsure=0.1,
        reason="half of the picture holds no detail",
        reduce=mean,
    ),
    Signal(
        name="bright_share",
        unit="share",
        view=_OVERVIEW,
        meaning="pixels brighter than 239 of 255",
        label="overexposed_video",
        maximum=0.3,
        unsure=0.1,
        reason="more than a white sky above a landscape",
        reduce=mean,
    ),
    Signal(
        name="saturation",
        unit="share",
        view=_OVERVIEW,
        meaning="mean saturation (HSV)",
        label="grey_video",
        minimum=0.04,
        unsure=0.02,
        reason="black and white, with the tint that encoding leaves",
        reduce=mean,
    ),
    Signal(
        name="black_share",
        unit="share",
        view=_OVERVIEW,
        meaning="black frames: 98 % of the pixels darker than 32 of 255",
        label="black_video",
        maximum=0.3,
        unsure=0.1,
        reason="the limits of FFmpeg's blackdetect; fades take less of a clip",
        reduce=mean,
    ),
    Signal(
        name="plain_share",
        unit="share",
        view=_OVERVIEW,
        meaning="frames of one colour: each channel deviates by less than 3 grey levels",
        label="single_colour_video",
        maximum=0.3,
        unsure=0.1,
        reason="as of black frames",
        reduce=mean,
    ),
    Signal(
        name="blur",
        unit="0 sharp to 1 blurred",
        view=_NATIVE,
        meaning="blur effect of Crete et al.",
        label="blurred_video",
        maximum=0.42,
        unsure=0.06,
        reason="chosen on clips blurred by known radii, sources held out",
        reduce=median,
    ),
    Signal(
        name="sharpness",
        unit="log(1 + grey levels²)",
        view=_NATIVE,
        meaning="variance of the Laplacian",
        label="blurred_video",
        minimum=3.85,
        unsure=0.5,
        reason="chosen as that of blur; it depends on resolution and content",
        reduce=median,
    ),
    Signal(
        name="blockiness",
        unit="ratio",
        view=_NATIVE,
        meaning="steps at every eighth pixel against the others, at the best phase",
        label="blocky_video",
        maximum=1.5,
        unsure=0.2,
        reason="chosen on clips crushed by encoders, sources held out; sound ones lie near 1",
        reduce=median,
    ),
    Signal(
        name="noise",
        unit="grey levels",
        view=_NATIVE,
        meaning="standard deviation of noise by Immerkær",
        label="noisy_video",
        maximum=6.7,
        unsure=1.5,
        reason="chosen on clips with added noise, sources held out; fine texture measures high, too",
        reduce=median,
    ),
    Signal(
        name="combing",
        unit="ratio",
        view=_NATIVE,
        meaning="difference of neighbouring lines against lines two apart",
        label="combed_video",
        maximum=1.04,
        unsure=0.2,
        reason="the interlace threshold of FFmpeg's idet",
        reduce=upper_quartile,
    ),
    Signal(
        name="bars_share",
        unit="share",
        view=_OVERVIEW,
        meaning="plain bars at the edges of the picture",
        label="letterboxed_video",
        maximum=0.04,
        unsure=0.01,
        reason="picture frames and dark edges are narrower",
    ),
    Signal(
        name="overlay_share",
        unit="share",
        view=_OVERVIEW,
        meaning="area around edges that stay while the picture moves; not measured when most of it stands still",
        label="overlaid_video",
        maximum=0.02,
        unsure=0.015,
        reason="a logo of a tenth of each side covers 1 %",
    ),
    Signal(
        name="bits_per_pixel",
        unit="bits",
        view=ViewName.PACKETS,
        meaning="bits of the video's packets for each pixel of each frame",
        label="crushed_video",
        minimum=0.02,
        unsure=0.01,
        reason="0.02 is 460 kbit/s for 720p at 25 frames/s; newer codecs need less",
    ),
)
REGION_LABELS = ("border", "logo", "caption")  # of the detector of regions that needs no weights
NAMES: tuple[str, ...] = tuple(one.name for one in SIGNALS)
BY_NAME = {one.name: one for one in SIGNALS}
