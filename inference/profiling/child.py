"""One profile as a process of its own: ``python -m inference.profiling.child OPTIONS DIRECTORY [--together]``.

``OPTIONS`` is JSON. With ``--together`` it prints ``ready`` after its warm-up and waits for a line on its input.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from inference.errors import InferenceError, ProfilingError
from inference.profiling.options import ProfileOptions, bind_cores
from inference.profiling.steps.steps import TimedStep

TOGETHER = "--together"


def options_of(values: Mapping[str, Any]) -> ProfileOptions:
    """The options of JSON or YAML values.

    Raises:
        ProfilingError: one is unknown or wrong.
    """
    known = {field.name for field in fields(ProfileOptions)}
    if unknown := sorted(set(values) - known):
        raise ProfilingError(f"option {unknown[0]!r} is unknown: choose from {', '.join(sorted(known))}")
    try:
        return TypeAdapter(ProfileOptions).validate_python(dict(values))
    except ValidationError as error:
        first = error.errors()[0]
        raise ProfilingError(
            f"option {'.'.join(map(str, first['loc']))} = {first['input']!r}: {first['msg']}"
        ) from error


def start_child(options: ProfileOptions, directory: Path, *, is_together: bool = False) -> subprocess.Popen[str]:
    """Start a profile in a process of its own, which binds itself to the options' cores."""
    words = [json.dumps(asdict(options)), str(directory), *([TOGETHER] if is_together else [])]
    return subprocess.Popen(
        [sys.executable, "-m", "inference.profiling.child", *words],
        cwd=Path(__file__).parents[2],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def failure(status: int, errors: str) -> str:
    """The line that says why a child failed."""
    lines = errors.strip().splitlines()
    return lines[-1] if lines else f"the profile's process ended with status {status}"


def main(words: Sequence[str]) -> int:
    """Profile, and write every file; 2 with one line on standard error when it cannot be made as asked."""
    from inference.profiling.figures.first_calls import explain, runtime_of
    from inference.profiling.report.report import write_report
    from inference.profiling.report.stored import store
    from inference.profiling.run import run_profile

    directory = Path(words[1]).absolute()
    try:
        options = options_of(json.loads(words[0]))
        bind_cores(options.core_bind)
        if TOGETHER in words:
            options = replace(options, warmup_steps=max(1, options.warmup_steps))
        result = run_profile(options, directory, _barrier(options) if TOGETHER in words else lambda _step: None)
    except InferenceError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    store(result, directory)
    write_report(result, directory, slow_first_calls=explain(result.summary.first_calls, runtime_of(options)))
    return 0


def _barrier(options: ProfileOptions) -> Any:
    def wait(step: TimedStep) -> None:
        if step.index == options.warmup_steps - 1:
            sys.stdout.write("ready\n")
            sys.stdout.flush()
            sys.stdin.readline()

    return wait


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
