"""From steps to a run's figures: throughput, stages, first calls, and the part of the wall clock that they explain."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

from inference.profiling.figures.statistics import Distribution, Interval, distribution, interval, typical
from inference.profiling.steps.steps import StepPhase, TimedStep

STAGES = ("read", "wait", "prep", "transfer", "exec")


@dataclass(frozen=True, slots=True)
class FirstCall:
    """The first step of one input size against the later ones of that size."""

    size: int
    first_ms: float  # of exec
    steady_ms: float  # of exec, median
    grown_bytes: int  # by the GPU's allocator during that step


@dataclass(frozen=True, slots=True, kw_only=True)
class ProfileSummary:
    """A run's figures. All but ``first_calls`` and the sums are of the steady state."""

    steps: int
    samples_per_second: float  # the gaps between steps included
    throughput: Interval | None  # samples a second over repeats
    stages: Mapping[str, Distribution]  # a stage's name, or "step" -> milliseconds
    shares: Mapping[str, float]  # a stage's name -> its part of a step
    first_calls: tuple[FirstCall, ...]
    warmup_ms: float | None  # mean of a warm-up step
    launch_share: float  # of exec: until the call returned
    preempted_share: float  # of a step: the core was taken
    lost_frames: int
    queue_age_ms: float | None  # median; None where frames are read on demand
    losses: tuple[float, float] | None  # of a training run: means of the first and the last tenth of its steps
    sum_error: float  # |parts - step| / step over all steps
    wall_error: float  # |steps + gaps - wall clock| / wall clock


def summarize(steps: Sequence[TimedStep], wall_seconds: float, samples_per_step: int) -> ProfileSummary:
    """The figures of at least one step; where none is steady, the others stand for the steady state.

    ``wall_seconds`` is the caller's clock from before the first step to the arrival of the last one.
    """
    steady = [one for one in steps if one.phase is StepPhase.STEADY] or list(steps)
    stages = {name: distribution([stage_ms(one, name) for one in steady]) for name in (*STAGES, "step")}
    rates = _rates(steady, samples_per_step)
    total_ms, gaps_ms = sum(one.total_ms for one in steps), sum(one.gap_ms for one in steps)
    warmups = [one.total_ms for one in steps if one.phase is StepPhase.WARMUP]
    ages = [one.queue_age_ms for one in steady if one.queue_age_ms > 0]
    return ProfileSummary(
        steps=len(steady),
        samples_per_second=sum(rates) / len(rates),
        throughput=interval(rates),
        stages=stages,
        shares={name: stages[name].mean / stages["step"].mean for name in STAGES},
        first_calls=tuple(_first_calls(steps)),
        warmup_ms=sum(warmups) / len(warmups) if warmups else None,
        launch_share=_ratio(sum(one.launch_ms for one in steady), sum(one.exec_ms for one in steady)),
        preempted_share=_ratio(sum(one.preempted_ms for one in steady), sum(one.total_ms for one in steady)),
        lost_frames=steps[-1].lost_frames,
        queue_age_ms=typical(ages) if ages else None,
        losses=_losses(steps),
        sum_error=_ratio(abs(sum(one.parts_ms for one in steps) - total_ms), total_ms),
        wall_error=_ratio(abs(total_ms / 1e3 + gaps_ms / 1e3 - wall_seconds), wall_seconds),
    )


def stage_ms(step: TimedStep, name: str) -> float:
    """A stage's milliseconds of one step, or those of the whole ``"step"``."""
    value: float = step.total_ms if name == "step" else getattr(step, f"{name}_ms")
    return value


def _rates(steady: Sequence[TimedStep], samples_per_step: int) -> list[float]:
    """Samples a second of each repeat, from its first step's start to its last step's end."""
    rates = []
    for _, group in groupby(steady, key=lambda one: one.repeat):
        own = list(group)
        seconds = own[-1].started_seconds + own[-1].total_ms / 1e3 - own[0].started_seconds
        rates.append(len(own) * samples_per_step / seconds)
    return rates


def _first_calls(steps: Sequence[TimedStep]) -> list[FirstCall]:
    firsts = [(place, one) for place, one in enumerate(steps) if one.phase is StepPhase.FIRST]
    calls = []
    for place, first in firsts:
        later = [one.exec_ms for one in steps if one.size == first.size and one.phase is not StepPhase.FIRST]
        before = steps[place - 1].reserved_bytes if place else 0
        calls.append(FirstCall(first.size, first.exec_ms, typical(later), first.reserved_bytes - before))
    return calls


def _losses(steps: Sequence[TimedStep]) -> tuple[float, float] | None:
    values = [one.loss for one in steps if one.loss is not None]
    if not values:
        return None
    tenth = max(1, len(values) // 10)
    return sum(values[:tenth]) / tenth, sum(values[-tenth:]) / tenth


def _ratio(part: float, whole: float) -> float:
    return part / whole if whole else 0.0
