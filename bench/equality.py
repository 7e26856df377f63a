"""Comparison of two answers, made before any figure is printed. Pure."""

from __future__ import annotations

import math
from typing import Any


def difference(expected: Any, found: Any, tolerance: float, where: str = "answer") -> str | None:
    """Describe the first place where two JSON values differ; None when they are equal.

    >>> difference({"a": [1.0, 2.0]}, {"a": [1.0, 2.5]}, 0.1)
    'answer.a[1]: 2.0 became 2.5'
    >>> difference({"a": [1.0, 2.0]}, {"a": [1.0, 2.05]}, 0.1) is None
    True
    """
    if isinstance(expected, dict) and isinstance(found, dict):
        if expected.keys() != found.keys():
            return f"{where}: keys {sorted(expected)} became {sorted(found)}"
        pairs = [(expected[key], found[key], f"{where}.{key}") for key in expected]
    elif isinstance(expected, list) and isinstance(found, list):
        if len(expected) != len(found):
            return f"{where}: {len(expected)} entries became {len(found)}"
        pairs = [(one, other, f"{where}[{n}]") for n, (one, other) in enumerate(zip(expected, found, strict=True))]
    else:
        return None if _is_equal(expected, found, tolerance) else f"{where}: {expected!r} became {found!r}"
    differences = (difference(one, other, tolerance, place) for one, other, place in pairs)
    return next((text for text in differences if text is not None), None)


def _is_equal(expected: Any, found: Any, tolerance: float) -> bool:
    if isinstance(expected, float) and isinstance(
        found, float
    ):  # a NaN equals no number, so NaN scores are a difference
        return math.isclose(expected, found, rel_tol=0.0, abs_tol=tolerance)
    return type(expected) is type(found) and bool(expected == found)
