"""Figures of rounds: medians with their spread, ratios within rounds, and counts of disturbed rounds. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median

NOISE_FACTOR = 1.3  # a canary this many times slower than the best one marks its measurement
EVEN_FACTOR = 1.15  # a round is even when the canaries of the two that are compared differ by less


@dataclass(frozen=True, slots=True)
class Measured:
    """Measurement of a round of a variant."""

    round: int
    variant: str
    cpu_seconds: float
    wall_seconds: float
    peak_bytes: int
    canary_cpu_seconds: float
    canary_wall_seconds: float
    stage_cpu_seconds: Mapping[str, float] = field(default_factory=dict)
    facts: Mapping[str, float] = field(default_factory=dict)  # such as the seconds of a start, which is not measured


@dataclass(frozen=True, slots=True)
class Spread:
    """A median with the smallest and largest value."""

    median: float
    least: float
    most: float

    @classmethod
    def of(cls, values: Iterable[float]) -> Spread:
        """The spread of at least one value."""
        ordered = sorted(values)
        return cls(median(ordered), ordered[0], ordered[-1])


@dataclass(frozen=True, slots=True)
class Stage:
    """A stage of a variant's work over all rounds."""

    cpu_seconds: Spread
    cpu_ratio: Spread  # to the baseline's same stage


@dataclass(frozen=True, slots=True)
class Figures:
    """A variant over all rounds. A ratio is the baseline's seconds over the variant's, within a round."""

    variant: str
    cpu_seconds: Spread
    wall_seconds: Spread
    units_per_second: float  # of wall seconds, median
    peak_bytes: int
    cpu_ratio: Spread
    even_cpu_ratio: Spread | None  # of the rounds in which both ran at the same speed of the machine
    even_rounds: int
    wall_ratio: Spread
    stages: Mapping[str, Stage]


@dataclass(frozen=True, slots=True)
class Noise:
    """Counts of disturbed measurements: on a slow core, or beside other work (which affects wall seconds only)."""

    slow: int
    contended: int
    of: int


def figures(rounds: Sequence[Measured], count: float) -> list[Figures]:
    """Figures per variant, the baseline's first; ``count`` is the units of work in one round."""
    by_variant: dict[str, list[Measured]] = {}
    for one in rounds:
        by_variant.setdefault(one.variant, []).append(one)
    baseline = {one.round: one for one in next(iter(by_variant.values()))}
    return [_figures(variant, own, baseline, count) for variant, own in by_variant.items()]


def noise(rounds: Sequence[Measured]) -> Noise:
    """Count disturbed measurements by their canaries."""
    best_seconds = min(one.canary_cpu_seconds for one in rounds)
    slow = sum(one.canary_cpu_seconds > NOISE_FACTOR * best_seconds for one in rounds)
    contended = sum(one.canary_wall_seconds > NOISE_FACTOR * one.canary_cpu_seconds for one in rounds)
    return Noise(slow, contended, len(rounds))


def _figures(variant: str, own: Sequence[Measured], baseline: Mapping[int, Measured], count: float) -> Figures:
    wall_seconds = Spread.of(one.wall_seconds for one in own)
    even = [one for one in own if _is_even(one, baseline[one.round])]
    return Figures(
        variant=variant,
        cpu_seconds=Spread.of(one.cpu_seconds for one in own),
        wall_seconds=wall_seconds,
        units_per_second=count / wall_seconds.median,
        peak_bytes=max(one.peak_bytes for one in own),
        cpu_ratio=_cpu_ratio(own, baseline),
        even_cpu_ratio=_cpu_ratio(even, baseline) if even else None,
        even_rounds=len(even),
        wall_ratio=Spread.of(baseline[one.round].wall_seconds / one.wall_seconds for one in own),
        stages={stage: _stage(stage, own, baseline) for stage in own[0].stage_cpu_seconds},
    )


def _stage(stage: str, own: Sequence[Measured], baseline: Mapping[int, Measured]) -> Stage:
    seconds = [(one.stage_cpu_seconds[stage], baseline[one.round].stage_cpu_seconds[stage]) for one in own]
    return Stage(Spread.of(taken for taken, _ in seconds), Spread.of(before / taken for taken, before in seconds))


def _cpu_ratio(own: Sequence[Measured], baseline: Mapping[int, Measured]) -> Spread:
    return Spread.of(baseline[one.round].cpu_seconds / one.cpu_seconds for one in own)


def _is_even(one: Measured, other: Measured) -> bool:
    slower, faster = sorted((one.canary_cpu_seconds, other.canary_cpu_seconds), reverse=True)
    return slower < EVEN_FACTOR * faster
