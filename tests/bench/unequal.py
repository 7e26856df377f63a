"""A case for the harness's tests, with a correct variant, a wrong one and one that raises."""

from __future__ import annotations

from contextlib import contextmanager

from bench.comparison import Case, Comparison


def answering(value):
    @contextmanager
    def variant(_is_short):
        yield lambda: lambda: {"scores": [0.5, value]}

    return variant


def rows(_is_short):
    return 10.0


VARIANTS = {"right": answering(0.25), "nearly": answering(0.2500001), "wrong": answering(0.26)}
WITHIN = Comparison(
    name="within", unit="rows", count=rows, variants={"right": VARIANTS["right"], "nearly": VARIANTS["nearly"]},
    tolerance=1e-4,
)  # fmt: skip
UNEQUAL = Comparison(name="unequal", unit="rows", count=rows, variants=VARIANTS, tolerance=1e-4)
CASE = Case("unequal", (WITHIN,), short=(WITHIN, UNEQUAL))
