"""Runs a comparison: variants in turns, each round in its own process, every answer compared with the first."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from subprocess import PIPE
from typing import Any

from bench.comparison import Comparison
from bench.equality import difference
from bench.summary import Measured

ROOT = Path(__file__).resolve().parent.parent
Measure = Callable[..., dict[str, Any]]
"""Takes a comparison's name, a variant's and "short" or "full"; returns the measurement and the answer."""


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
    comparison: Comparison, measure: Measure, rounds: int, *, is_short: bool, report: Callable[[str], object] = str
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
        reply = measure(comparison.name, variant, "short" if is_short else "full")
        if not measured:
            expected = reply["answer"]
        if differs := difference(expected, reply["answer"], comparison.tolerance):
            raise Unequal(f"{comparison.name}: {variant} in round {number + 1}: {differs}")
        measured.append(Measured(number, variant, **reply["measured"]))
    return measured


@contextmanager
def measuring(module: str) -> Iterator[Measure]:
    """Yield a function that measures a round of the module's case in a process of its own."""
    command = [sys.executable, "-m", "bench.round", module]
    with (
        tempfile.TemporaryDirectory(prefix="tamis-bench-") as directory,
        subprocess.Popen(command, cwd=ROOT, env=_environ(), stdin=PIPE, stdout=PIPE, text=True) as process,
    ):
        path = Path(directory) / "round.json"

        def measure(*words: str) -> dict[str, Any]:
            print(json.dumps([*words, str(path)]), file=process.stdin, flush=True)
            status = next(iter(process.stdout or ()), "nothing").strip()
            if status != "0":
                raise ChildProcessError(f"{module}: {' '.join(words)} ended with status {status}")
            reply: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
            return reply

        yield measure


def _environ() -> dict[str, str]:
    """Environment without TAMIS_* settings and with one thread per library, so that other load matters less."""
    own = {name: value for name, value in os.environ.items() if not name.startswith("TAMIS_")}
    return own | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "PYTHONHASHSEED": "0"}
