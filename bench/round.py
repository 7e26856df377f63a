"""Measure a round of a variant in this process: ``python -m bench.round MODULE COMPARISON VARIANT LENGTH PATH``.

Opening, warming and closing are not measured. The measurement and the answer go to PATH as JSON.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from bench.comparison import Staged, find
from bench.meter import ClockReading, canary, tree_peak_bytes


def main(module: str, comparison: str, variant: str, length: str, path: str) -> None:
    """Measure once."""
    with find(module, comparison).variants[variant](length == "short") as work:
        before = canary()
        started = ClockReading.read()
        make_answer = work()
        ended = ClockReading.read()
        peak_bytes = tree_peak_bytes()
        after = canary()
        answered = make_answer()
    staged = answered if isinstance(answered, Staged) else Staged(answered, {})
    measured = {
        "cpu_seconds": ended.cpu_seconds - started.cpu_seconds,
        "wall_seconds": ended.wall_seconds - started.wall_seconds,
        "peak_bytes": peak_bytes,
        "canary_cpu_seconds": max(before.cpu_seconds, after.cpu_seconds),
        "canary_wall_seconds": max(before.wall_seconds, after.wall_seconds),
        "stage_cpu_seconds": staged.cpu_seconds,
        "facts": staged.facts,
    }
    Path(path).write_text(json.dumps({"measured": measured, "answer": staged.answer}), encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
