"""Runs a comparison: variants in turns, each round in its own process, every answer compared with the first."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from bench.comparison import Comparison
from bench.equality import difference
from bench.summary import Measured

ROOT = Path(__file__).resolve().parent.parent
ROUND_SECONDS = 600.0  # per round; enough also when ten other processes use the same cores


class Unequal(Exception):
    """A variant's answer differs from the baseline's, so its speed means nothing."""


class Absent(Exception):
    """A program or package outside this project that the case needs is not on this machine."""


def turns(variants: list[str], rounds: int) -> Iterator[tuple[int, str]]:
    """Yield every variant once per round, in reverse order every other round, so that drift affects all equally.

    >>> [variant for _, variant in turns(["a", "b"], 2)]
    ['a', 'b', 'b', 'a']
    """
    for number in range(rounds):
        for variant in variants if number % 2 == 0 else reversed(variants):
            yield number, variant


def run(
    comparison: Comparison, module: str, rounds: int, *, is_short: bool, report: Callable[[str], object] = str
) -> list[Measured]:
    """Measure every variant ``rounds`` times, the baseline's first.

    Raises:
        Unequal: at the first answer that differs.
    """
    comparison.inputs(is_short)
    rounds = min(rounds, comparison.max_rounds or rounds)
    measured: list[Measured] = []
    expected: Any = None
    for number, variant in turns(list(comparison.variants), rounds):
        report(f"{comparison.name}: round {number + 1} of {rounds}, {variant}")
        reply = _round(module, comparison.name, variant, is_short=is_short)
        if not measured:
            expected = reply["answer"]
        if differs := difference(expected, reply["answer"], comparison.tolerance):
            raise Unequal(f"{comparison.name}: {variant} in round {number + 1}: {differs}")
        measured.append(Measured(number, variant, **reply["measured"]))
    return measured


def _round(module: str, comparison: str, variant: str, *, is_short: bool) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(prefix="tamis-bench-") as directory:
        path = Path(directory) / "round.json"
        words = [module, comparison, variant, "short" if is_short else "full", str(path)]
        command = [sys.executable, "-m", "bench.round", *words]
        subprocess.run(command, cwd=ROOT, env=_environ(), check=True, timeout=ROUND_SECONDS)
        reply: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return reply


def _environ() -> dict[str, str]:
    """Environment without TAMIS_* settings and with one thread per library, so that other load matters less."""
    own = {name: value for name, value in os.environ.items() if not name.startswith("TAMIS_")}
    return own | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "PYTHONHASHSEED": "0"}
