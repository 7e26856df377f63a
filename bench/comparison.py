"""Cases and comparisons: named variants of the same work, and the result of one round."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, cast

from bench.summary import Measured

Work = Callable[[], Callable[[], Any]]
"""The measured call. It returns a function that makes the answer after the measurement: JSON, equal for every variant,
or that with the work's stages (:class:`Staged`)."""

Variant = Callable[[bool], AbstractContextManager[Work]]
"""Opens what the work needs, before the measurement. The argument is True for tiny inputs."""


@dataclass(frozen=True, slots=True)
class Staged:
    """An answer, the CPU-seconds of each stage of the work, and further facts about the round, by name."""

    answer: Any
    cpu_seconds: Mapping[str, float]
    facts: Mapping[str, float] = field(default_factory=dict)


def no_inputs(_is_short: bool) -> None:
    """Build nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Variants of the same work. The first is the baseline; a ratio is its cost over the cost of another variant."""

    name: str
    unit: str  # counted per second
    count: Callable[[bool], float]  # units in one round, tiny inputs or not
    variants: Mapping[str, Variant]
    tolerance: float = 0.0  # largest difference between numbers of equal answers
    inputs: Callable[[bool], None] = no_inputs  # builds input files, once, in the harness's process
    max_rounds: int | None = None  # for comparisons that only check answers


@dataclass(frozen=True, slots=True)
class Case:
    """Comparisons that run and are stored together."""

    name: str
    comparisons: tuple[Comparison, ...]
    short: tuple[Comparison, ...]  # run by --short
    rounds: int | None = None  # default number
    closing: Callable[[Mapping[str, Sequence[Measured]]], str] | None = (
        None  # makes the last line from comparison -> rounds
    )


def load_case(module: str) -> Case:
    """The ``CASE`` of a module."""
    return cast("Case", importlib.import_module(module).CASE)


def load_report(module: str) -> Callable[..., str]:
    """The ``report`` of a module that has no comparison: it measures and returns its lines."""
    return cast("Callable[..., str]", importlib.import_module(module).report)


def find(module: str, comparison: str) -> Comparison:
    """Return the comparison of this name of a module's case."""
    case = load_case(module)
    return next(one for one in (*case.comparisons, *case.short) if one.name == comparison)
