"""Judging a video with all classifiers, from its file to scores: the original design, and ours.

First both are compared with the same decoder (decord, as in the original): frame numbers and scores must be equal. Then
ours runs as shipped, with PyAV.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from importlib.util import find_spec

from bench.clips import joined
from bench.comparison import Case, Comparison, Variant
from bench.contestants import VideoQueue, original, ours
from bench.harness import Absent
from bench.summary import Figures, Measured, figures

SECONDS = 10  # three whole windows
VIDEOS = 2  # in the queue of one round
# Batches and cached position tables add numbers in another order (1e-7), and a verdict has six digits.
SAME_DECODER_TOLERANCE = 1e-5
# Two versions of FFmpeg scale the same frames: pixels differ by 0.1 of 255 on average, and scores by up to 0.0006.
# Neighbouring windows differ by 0.019 or more on these clips, a window and its reverse by 0.007 or more.
OWN_DECODER_TOLERANCE = 2e-3
PREFIX = "video-"  # of the comparisons in the closing line


def closing_line(rounds: Mapping[str, Sequence[Measured]]) -> str:
    """Summarise the case in one line; the harness has checked that all answers are equal.

    A stage's ratio is the smallest among the picture sizes.
    """
    by_size = {name.removeprefix(PREFIX): _ours(one) for name, one in rounds.items() if name.startswith(PREFIX)}
    words = [f"cpu_ratio_{size}={one.cpu_ratio.median:.1f}" for size, one in by_size.items()]
    for stage in ("decode", "compute"):
        least = min(one.stages[stage].cpu_ratio.median for one in by_size.values())
        words.append(f"{stage}_ratio={least:.1f}")
    return f"bench video: {' '.join(words)} equal=yes"


def _ours(rounds: Sequence[Measured]) -> Figures:
    return next(one for one in figures(rounds, 1.0) if one.variant == ours.__name__)


def _build(queue: VideoQueue, _is_short: bool) -> None:
    if find_spec("decord") is None:
        raise Absent("the original design decodes with decord, which is not installed: pip install 'tamis[decord]'")
    joined(queue.width, queue.height, queue.seconds)


def _count(queue: VideoQueue, _is_short: bool) -> float:
    return float(queue.videos)


def _same_decoder(label: str, queue: VideoQueue) -> Comparison:
    own = partial(ours, queue, "decord")
    variants: dict[str, Variant] = {"original": partial(original, queue, False), "ours_with_decord": own}
    return _comparison(f"same decoder, {label}", queue, variants, SAME_DECODER_TOLERANCE, max_rounds=1)


def _own_decoder(label: str, queue: VideoQueue, *, has_third: bool) -> Comparison:
    variants: dict[str, Variant] = {"original": partial(original, queue, False)}
    if has_third:
        variants["original_skip_predictor"] = partial(original, queue, True)
    variants["ours"] = partial(ours, queue, "pyav")
    return _comparison(f"{PREFIX}{label}", queue, variants, OWN_DECODER_TOLERANCE)


def _comparison(
    name: str, queue: VideoQueue, variants: Mapping[str, Variant], tolerance: float, max_rounds: int | None = None
) -> Comparison:
    return Comparison(
        name=name,
        unit="videos",
        count=partial(_count, queue),
        variants=variants,
        tolerance=tolerance,
        inputs=partial(_build, queue),
        max_rounds=max_rounds,
    )


CASE = Case(
    "video",
    (
        _same_decoder("720p", VideoQueue(1280, 720, SECONDS, 1)),
        _own_decoder("720p", VideoQueue(1280, 720, SECONDS, VIDEOS), has_third=True),
        # The models get the same small pictures for every size of file: a third size would add nothing.
        _own_decoder("1080p", VideoQueue(1920, 1080, SECONDS, VIDEOS), has_third=False),
    ),
    short=(_own_decoder("180p", VideoQueue(320, 180, 5, 1), has_third=False),),
    rounds=3,
    closing=closing_line,
)
