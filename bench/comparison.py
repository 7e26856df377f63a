"""What is compared: named variants of one piece of work, and what a round of one of them yields."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, cast

from bench.summary import Measured

Work = Callable[[], Callable[[], Any]]
"""The measured call. It returns the maker of its answer, which is called unmeasured: JSON, equal for every variant, or
that with the work's stages (:class:`Staged`)."""

Variant = Callable[[bool], AbstractContextManager[Work]]
"""Opens what the work needs, unmeasured. The argument says whether inputs are to be tiny."""


@dataclass(frozen=True, slots=True)
class Staged:
    """An answer, and what each stage of the work took in CPU-seconds."""

    answer: Any
    cpu_seconds: Mapping[str, float]


def no_inputs(_is_short: bool) -> None:
    """Build nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Variants of the same work. The first is the baseline: ratios say how many times less the others take."""

    name: str
    unit: str  # what is counted per second
    count: Callable[[bool], float]  # units in one round, tiny inputs or not
    variants: Mapping[str, Variant]
    tolerance: float = 0.0  # by which numbers of equal answers may differ
    inputs: Callable[[bool], None] = no_inputs  # builds input files, once, in the harness's process
    max_rounds: int | None = None  # of a comparison for the sake of the answers


@dataclass(frozen=True, slots=True)
class Case:
    """Comparisons that are run and stored together."""

    name: str
    comparisons: tuple[Comparison, ...]
    short: tuple[Comparison, ...]  # the ones that --short runs
    rounds: int | None = None  # unless told otherwise
    closing: Callable[[Mapping[str, Sequence[Measured]]], str] | None = None  # comparison -> rounds: the last line


def load_case(module: str) -> Case:
    """The ``CASE`` of a module."""
    return cast("Case", importlib.import_module(module).CASE)


def find(module: str, comparison: str) -> Comparison:
    """A comparison of a module's case by its name."""
    case = load_case(module)
    return next(one for one in (*case.comparisons, *case.short) if one.name == comparison)
