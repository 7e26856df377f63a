"""The bench of the profiler: planted bottlenecks are named, and measuring is counted. No test bounds a speed."""

from __future__ import annotations

import pytest

from bench.__main__ import main
from bench.profile import Planted, keep_to_one_core, overhead_seconds, run_planted
from inference.profiling.figures.verdict import Bound


# Not those whose work is the CPU's: beside other tests, they are contended.
@pytest.mark.parametrize("bound", [Bound.READ, Bound.COMPUTE, Bound.CONTENDED])
def test_a_planted_bottleneck_is_named(bound: Bound) -> None:
    with keep_to_one_core() as core:
        planted = run_planted(bound, 5, core)
    assert planted.mistake == ""
    assert planted.summary.sum_error < 0.02


def test_a_wrong_verdict_is_told_with_its_evidence() -> None:
    with keep_to_one_core() as core:
        planted = run_planted(Bound.READ, 5, core)
    mistaken = Planted(Bound.PREP, planted.found, planted.summary)
    assert mistaken.mistake.startswith("planted prep-bound, found read-bound: of a step of")


def test_the_cost_of_measuring_is_counted() -> None:
    assert 0 < overhead_seconds(steps=200) < 0.01


def test_the_command_prints_the_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("bench.profile.report", lambda *, is_short: f"bench profile: is_short={is_short}")
    assert main(["--case", "profile", "--short"]) == 0
    assert capsys.readouterr().out == "bench profile: is_short=True\n"
