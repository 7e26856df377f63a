"""The verdict follows from the figures, and its evidence holds them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from inference.profiling.figures.statistics import distribution
from inference.profiling.figures.summary import ProfileSummary, summarize
from inference.profiling.figures.verdict import Bound, judge
from inference.profiling.steps.steps import StepPhase, TimedStep

PLAIN = TimedStep(
    index=0, repeat=0, phase=StepPhase.STEADY, size=64, started_seconds=0.0, read_ms=1.0, prep_ms=1.0, transfer_ms=1.0,
    exec_ms=1.0, wait_ms=0.0, gap_ms=0.0, total_ms=4.0, launch_ms=1.0, first_part_ms=0.0, preempted_ms=0.0,
    queue_age_ms=0.0, lost_frames=0, reserved_bytes=0, loss=None,
)  # fmt: skip


def steps(count: int = 20, **parts: Any) -> list[TimedStep]:
    one = replace(PLAIN, **parts)
    one = replace(one, total_ms=one.parts_ms)
    return [replace(one, index=place, started_seconds=place * one.total_ms / 1e3) for place in range(count)]


def summary(**parts: Any) -> ProfileSummary:
    made = steps(**parts)
    return summarize(made, sum(one.total_ms for one in made) / 1e3, 2)


@pytest.mark.parametrize(
    ("parts", "fixed_share", "is_gpu", "bound"),
    [
        ({"read_ms": 9.0}, 0.1, False, Bound.READ),
        ({"wait_ms": 9.0}, 0.1, False, Bound.READ),
        ({"prep_ms": 9.0}, 0.9, False, Bound.PREP),
        ({"transfer_ms": 9.0}, 0.1, True, Bound.TRANSFER),
        ({"exec_ms": 9.0, "launch_ms": 9.0}, 0.1, False, Bound.COMPUTE),
        ({"exec_ms": 9.0, "launch_ms": 9.0}, 0.8, False, Bound.LAUNCH),
        ({"exec_ms": 9.0, "launch_ms": 8.9}, 0.3, True, Bound.LAUNCH),
        ({"exec_ms": 9.0, "launch_ms": 2.0}, 0.3, True, Bound.COMPUTE),
        ({"exec_ms": 9.0, "launch_ms": 2.0}, None, True, Bound.COMPUTE),
        ({"prep_ms": 9.0, "preempted_ms": 6.0}, 0.1, False, Bound.CONTENDED),
    ],
)
def test_the_largest_part_of_a_step_is_named(
    parts: dict[str, float], fixed_share: float | None, is_gpu: bool, bound: Bound
) -> None:
    verdict = judge(summary(**parts), fixed_share, is_gpu=is_gpu)
    assert verdict.bound is bound
    assert any("%" in line for line in verdict.evidence)
    assert "%" in verdict.next_change


def test_a_summary_counts_the_steady_steps_and_the_gaps_between_them() -> None:
    made = [replace(PLAIN, phase=StepPhase.FIRST, exec_ms=500.0, total_ms=503.0), *steps()]
    # a step of 4 ms every 5 ms
    made = [replace(one, started_seconds=place * 0.005 + 0.5, gap_ms=1.0) for place, one in enumerate(made)]
    found = summarize(made, 0.503 + 20 * 0.005 + 0.005, samples_per_step=2)
    assert found.steps == 20
    assert found.samples_per_second == pytest.approx(2 * 20 / (19 * 0.005 + 0.004))
    assert found.stages["step"] == distribution([4.0] * 20)
    assert found.first_calls[0].first_ms == 500.0
    assert found.first_calls[0].steady_ms == 1.0
    assert found.sum_error == 0.0
    assert found.wall_error == pytest.approx(0.004 / 0.608)  # its gap of 1 ms explains a part of the 5 ms
