"""Measure rounds, each in a process of its own: ``python -m bench.round MODULE`` reads them from standard input.

A line is a JSON list of comparison, variant, ``"short"`` or ``"full"``, and a path; the answer to it is the exit status
of the round's process. That process is a fork of this one, which has imported the module of the case: the imports take
longer than many rounds. Opening, warming and closing are not measured. The measurement and the answer go to the path as
JSON.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path

from bench.comparison import Staged, find, load_case
from bench.meter import ClockReading, canary, tree_peak_bytes

ROUND_SECONDS = 600  # per round; enough also when ten other processes use the same cores


def main(module: str) -> None:
    """Measure until standard input ends."""
    load_case(module)
    for line in sys.stdin:
        if pid := os.fork():
            _, status = os.waitpid(pid, 0)
            print(os.waitstatus_to_exitcode(status), flush=True)
        else:
            signal.alarm(ROUND_SECONDS)
            os.dup2(2, 1)  # standard output belongs to the exit statuses
            return measure(module, *json.loads(line))
    return None


def measure(module: str, comparison: str, variant: str, length: str, path: str) -> None:
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
    main(sys.argv[1])
