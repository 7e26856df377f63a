"""Figures of a question on held-out sources, photos made into video and real video apart, with intervals."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.metrics import roc_auc_score

from inference.train.metrics import source_draws
from inference.train.starter.features import ClipFeatures
from inference.train.starter.tasks import FilterQuestion, examples_of

Floats = npt.NDArray[np.float64]
RESAMPLES = 300
BINS = 5
FEWEST = 5  # clips of each answer below which there is no figure


@dataclass(frozen=True, slots=True, kw_only=True)
class PartFigures:
    """Figures of one part of the clips; None where there are too few of them."""

    clips: int
    sources: int
    auroc: float | None
    interval: tuple[float, float] | None  # 90 %, sources resampled
    false_alarms: float | None  # share of the clips without the label that get it
    caught: float | None  # share of the clips with the label that get it
    unsure: float | None
    calibration_error: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class FilterFigures:
    """Figures of a question on all held-out clips, on photos, on real video, and by what was drawn."""

    name: str
    band: tuple[float, float]
    parts: Mapping[str, PartFigures]
    by_kind: Mapping[str, PartFigures]  # positives of one kind against all negatives

    @property
    def auroc(self) -> float | None:
        """AUROC on all held-out clips."""
        return self.parts["all"].auroc

    def to_json(self) -> dict[str, Any]:
        """Return the figures as JSON values."""
        return asdict(self)


def measure(question: FilterQuestion, clips: ClipFeatures, scores: Floats, band: tuple[float, float]) -> FilterFigures:
    """Measure the probabilities ``scores`` of clips that all have an answer."""
    examples = examples_of(question, clips)
    answers, groups = examples.answers, examples.groups
    every = np.ones(len(answers), bool)

    def part(chosen: npt.NDArray[np.bool_]) -> PartFigures:
        return _part(answers[chosen], scores[chosen], groups[chosen], band)

    kinds = _drawn_kinds(question, clips)
    return FilterFigures(
        name=question.name,
        band=band,
        parts={"all": part(every), "photos": part(~examples.is_real), "real video": part(examples.is_real)},
        by_kind={kind: part(~answers | (kinds == kind)) for kind in sorted(set(kinds[answers]))},
    )


def _drawn_kinds(question: FilterQuestion, clips: ClipFeatures) -> npt.NDArray[np.str_]:
    column = {"vfx": "effect", "simcam": "move", "rov": "quarter_turns", "lowq": "defect"}[question.name]
    return np.array([str(one) for one in clips.column(column)])


def _part(
    answers: npt.NDArray[np.bool_], scores: Floats, groups: npt.NDArray[np.str_], band: tuple[float, float]
) -> PartFigures:
    sources = len(set(groups))
    if min(answers.sum(), (~answers).sum()) < FEWEST:
        return PartFigures(
            clips=len(answers), sources=sources, auroc=None, interval=None, false_alarms=None, caught=None, unsure=None,
            calibration_error=None,
        )  # fmt: skip
    is_yes, is_unsure = scores >= band[1], (scores > band[0]) & (scores < band[1])
    return PartFigures(
        clips=len(answers),
        sources=sources,
        auroc=float(roc_auc_score(answers, scores)),
        interval=_interval(answers, scores, groups),
        false_alarms=float(is_yes[~answers].mean()),
        caught=float(is_yes[answers].mean()),
        unsure=float(is_unsure.mean()),
        calibration_error=calibration_error(answers, scores),
    )


def calibration_error(answers: npt.NDArray[np.bool_], scores: Floats) -> float:
    """Expected calibration error with bins of equally many clips, both answers weighing alike (Guo et al., 2017)."""
    weights = np.where(answers, 0.5 / answers.sum(), 0.5 / (~answers).sum())
    order = np.argsort(scores, kind="stable")
    gaps = [abs(float((weights[part] * (scores[part] - answers[part])).sum())) for part in np.array_split(order, BINS)]
    return float(sum(gaps))


def _interval(
    answers: npt.NDArray[np.bool_], scores: Floats, groups: npt.NDArray[np.str_]
) -> tuple[float, float] | None:
    """90 % interval over resampled sources (Efron's percentiles); None if too few of them have both answers."""
    drawn = (_auroc(answers[rows], scores[rows]) for rows in source_draws(groups, 0, RESAMPLES))
    found = [value for value in drawn if value is not None]
    if len(found) < RESAMPLES / 2:
        return None
    return float(np.quantile(found, 0.05)), float(np.quantile(found, 0.95))


def _auroc(answers: npt.NDArray[np.bool_], scores: Floats) -> float | None:
    return float(roc_auc_score(answers, scores)) if answers.any() and not answers.all() else None
