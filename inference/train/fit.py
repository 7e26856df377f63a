"""From labelled clips to a calibrated head with thresholds and figures: the whole training on features that exist."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from inference.errors import TrainingError
from inference.train.attentive import AttentiveFit, AttentiveOptions, AttentiveWeights, fit_attentive
from inference.train.calibration import Calibration, ReliabilityBin, fit_calibration, reliability
from inference.train.data import FeatureRows, Floats, LabelledClips, Rows
from inference.train.label_issues import LabelIssue, find_label_issues
from inference.train.linear import (
    WEIGHT_DECAYS,
    GridPoint,
    LinearFit,
    LinearWeights,
    fit_linear,
    out_of_fold_logits,
    softmax,
)
from inference.train.metrics import RESAMPLES, FigureInterval, measure
from inference.train.split import Shares, Split, split_by_source
from inference.train.thresholds import TABLE_LOSSES, LossThreshold, Unreachable, choose_threshold

FOLD_WEIGHT_DECAY = 0.01  # of the linear heads that look for label issues beside an attentive one
Progress = Callable[[str, int, int], None]  # step, units that are done, units of the step


def no_progress(step: str, done: int, total: int) -> None:
    """Tell no one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FitOptions:
    """Options of a training."""

    seed: int = 0
    shares: Shares = field(default_factory=Shares)
    weight_decays: Sequence[float] = WEIGHT_DECAYS
    attentive: AttentiveOptions | None = None  # None: linear heads
    is_balanced: bool = True  # every class weighs the same in the loss
    max_loss: float = 0.01  # the share of good clips that the threshold may lose
    resamples: int = RESAMPLES  # of the intervals

    def __post_init__(self) -> None:
        if not 0 < self.max_loss < 1:
            raise TrainingError(f"max_loss = {self.max_loss} must be above 0 and below 1")


@dataclass(frozen=True, kw_only=True)
class Assessment:
    """A head's calibration, and what it does on clips that its weights never saw."""

    calibration: Calibration
    figures: Mapping[str, Mapping[str, FigureInterval]]  # part (calibrate, test) -> figure -> interval
    reliability: tuple[ReliabilityBin, ...]  # of the probability to be dropped, on the part test
    threshold: LossThreshold | Unreachable  # for the target
    thresholds: tuple[LossThreshold | Unreachable, ...]  # for other targets
    test_loss: float  # share of the good clips of the part test that the threshold loses; 0 without one
    test_caught: float  # share of its bad clips that the threshold drops
    issues: tuple[LabelIssue, ...]


@dataclass(frozen=True, kw_only=True)
class FittedHead:
    """A calibrated head, its place in the grid, and its assessment."""

    head: LinearWeights | AttentiveWeights  # calibrated: its plain softmax is
    chosen: GridPoint
    grid: tuple[GridPoint, ...]
    split: Split
    assessment: Assessment

    def probabilities(self, features: FeatureRows, rows: Rows) -> Floats:
        """Return ``(rows, classes)`` of features ``(clips, width)`` or ``(clips, tokens, width)``."""
        return softmax(self.head.logits(features, rows))


def fit_head(
    clips: LabelledClips,
    options: FitOptions | None = None,
    progress: Progress = no_progress,
    *,
    frozen: LabelledClips | None = None,
) -> FittedHead:
    """Split by source, fit a grid of heads, calibrate the best, choose thresholds, and measure it.

    Label issues are found by linear heads, whatever the head is: these are fitted in no time for every fold.

    ``frozen`` are the same clips with features of a backbone that did not learn their labels, for the label issues.
    Equal clips, options and library versions give equal heads.

    Raises:
        TrainingError: a class has too few sources, or an attentive head gets no tokens.
    """
    options = options or FitOptions()
    split = split_by_source(clips, options.shares, options.seed)
    found = _fit_grid(clips, split, options, progress)
    decay = found.chosen.weight_decay if options.attentive is None else FOLD_WEIGHT_DECAY
    apart = out_of_fold_logits(frozen or clips, decay, options.seed, is_balanced=options.is_balanced)
    assessment = assess(clips, split, lambda rows: found.weights.logits(clips.features, rows), apart, options)
    return FittedHead(
        head=assessment.calibration.folded(found.weights),
        chosen=found.chosen,
        grid=found.grid,
        split=split,
        assessment=assessment,
    )


def _fit_grid(clips: LabelledClips, split: Split, options: FitOptions, progress: Progress) -> LinearFit | AttentiveFit:
    if options.attentive is not None:
        return fit_attentive(
            clips,
            split.fit,
            split.select,
            options.attentive,
            seed=options.seed,
            is_balanced=options.is_balanced,
            progress=lambda done, total: progress("epochs", done, total),
        )
    return fit_linear(
        clips,
        split.fit,
        split.select,
        weight_decays=options.weight_decays,
        is_balanced=options.is_balanced,
        progress=lambda done, total: progress("heads", done, total),
    )


def assess(
    clips: LabelledClips, split: Split, logits: Callable[[Rows], Floats], out_of_fold: Floats, options: FitOptions
) -> Assessment:
    """Calibrate a head on the part ``calibrate``, choose its thresholds there, and measure it on ``test``.

    ``logits`` of rows are those of the head, ``out_of_fold`` ``(clips, classes)`` those for the label issues.
    """
    rows = split.calibrate
    apart = logits(rows)
    calibration = fit_calibration(apart, clips.labels[rows], clips.weights[rows])
    probabilities = {
        "calibrate": calibration.probabilities(apart),
        "test": calibration.probabilities(logits(split.test)),
    }
    thresholds = {
        loss: _choose(clips, rows, probabilities["calibrate"], loss) for loss in (*TABLE_LOSSES, options.max_loss)
    }
    chosen = thresholds[options.max_loss]
    scores = clips.bad_scores(probabilities["test"])
    highest, videos = clips.by_video(split.test, scores)
    is_dropped, is_bad = highest > (chosen.max if isinstance(chosen, LossThreshold) else 1.0), clips.is_bad[videos]
    return Assessment(
        calibration=calibration,
        figures={
            part: measure(clips, split.rows(part), values, options.seed, resamples=options.resamples)
            for part, values in probabilities.items()
        },
        reliability=reliability(scores, clips.is_bad[split.test]),
        threshold=chosen,
        thresholds=tuple(thresholds[loss] for loss in TABLE_LOSSES),
        test_loss=float(is_dropped[~is_bad].mean()),
        test_caught=float(is_dropped[is_bad].mean()),
        issues=tuple(find_label_issues(clips, fit_calibration(out_of_fold, clips.labels).probabilities(out_of_fold))),
    )


def _choose(clips: LabelledClips, rows: Rows, probabilities: Floats, loss: float) -> LossThreshold | Unreachable:
    scores, videos = clips.by_video(rows, clips.bad_scores(probabilities))
    is_bad = clips.is_bad[videos]
    return choose_threshold(scores[~is_bad], clips.sources[videos][~is_bad], scores[is_bad], loss)
