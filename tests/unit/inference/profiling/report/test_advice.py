"""Advice answers the verdict, is tried on this machine, and says why it could not be."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from inference.profiling.figures.verdict import Bound
from inference.profiling.options import PrepLevel, ProfileOptions
from inference.profiling.report.advice import Tried, advise, candidates

Make = Callable[..., ProfileOptions]


@pytest.mark.parametrize(
    ("bound", "flags"),
    [
        (Bound.READ, {"--read-ahead"}),
        (Bound.PREP, {"--prep-on-gpu", "--prep-level simple", "--read-ahead"}),
        (Bound.TRANSFER, {"--prep-on-gpu", "--use-amp"}),
        (Bound.LAUNCH, {"--batch-size 2"}),
        (Bound.COMPUTE, {"--infer-on-gpu", "--use-amp", "--batch-size 2"}),
        (Bound.CONTENDED, set()),
    ],
)
def test_each_verdict_has_its_own_changes(bound: Bound, flags: set[str], options: Make) -> None:
    assert set(candidates(options(), bound)) == flags


def test_compilation_is_tried_on_a_gpu_alone(options: Make) -> None:
    assert "--enable-compile" in candidates(options(infer_on_gpu=True), Bound.LAUNCH)


def test_a_change_that_is_made_already_is_not_advised(options: Make) -> None:
    assert "--prep-level simple" not in candidates(options(prep_level=PrepLevel.SIMPLE), Bound.PREP)


def test_each_change_is_tried_and_one_that_needs_a_gpu_says_so(options: Make) -> None:
    tried = {one.name: one for one in advise(options(prep_level=PrepLevel.COMPLEX, input_sizes=(160,)), Bound.PREP)}
    assert "has no GPU" in str(tried["--prep-on-gpu"])
    simple = tried["--prep-level simple"]
    assert simple.before_ms > 0
    assert "of a step" in str(simple)


def test_a_tried_change_reads_as_a_share_of_a_step() -> None:
    assert str(Tried("--prep-on-gpu", 10.0, 6.2)) == "--prep-on-gpu: -38% of a step (10.00 → 6.20 ms a sample)"
