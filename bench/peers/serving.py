"""A contestant as a process: it says that it is ready, takes the files, and hands back its rows.

One line of JSON in each direction. A contestant's module calls :func:`serve`; the harness's side is :func:`contestant`.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from bench.harness import ROOT
from bench.peers.job import Row

JudgeAll = Callable[[list[str]], Sequence[Row]]
END_SECONDS = 60.0


def serve(opened: AbstractContextManager[JudgeAll]) -> None:
    """Open the contestant, then judge the files of every line of standard input until its end."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # libraries print progress bars and greetings
    with opened as judge_all:
        print(json.dumps({"ready": True}), file=answers, flush=True)
        for line in sys.stdin:
            print(json.dumps(judge_all(json.loads(line))), file=answers, flush=True)


@dataclass(frozen=True, slots=True)
class Contestant:
    """A contestant that is ready, and the seconds from its start until then."""

    process: subprocess.Popen[str]
    startup_seconds: float

    def judge_all(self, paths: Sequence[Path]) -> list[Row]:
        """Judge the files. Raises ``RuntimeError`` when the process ends without an answer, as a failed job does."""
        self._requests.write(json.dumps([str(path) for path in paths]) + "\n")
        self._requests.flush()
        rows: list[Row] = _line(self.process)
        return rows

    @property
    def _requests(self) -> IO[str]:
        assert self.process.stdin is not None  # noqa: S101 -- opened as a pipe below
        return self.process.stdin


@contextmanager
def contestant(module: str, job: str, python: str = sys.executable) -> Iterator[Contestant]:
    """Start ``module`` in its interpreter and wait until it is ready for the job; end it after the block."""
    started = time.perf_counter()
    process = subprocess.Popen(
        [python, "-m", module, job],
        cwd=ROOT,
        env=plain_environ(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        _line(process)
        yield Contestant(process, time.perf_counter() - started)
    finally:
        process.communicate(timeout=END_SECONDS)


def plain_environ() -> dict[str, str]:
    """The environment of a shell: the harness's limits on threads are left out, each contestant sets its own."""
    limits = {"OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"}
    return {name: value for name, value in os.environ.items() if name not in limits}


def _line(process: subprocess.Popen[str]) -> list[Row]:
    assert process.stdout is not None  # noqa: S101 -- opened as a pipe above
    line = process.stdout.readline()
    if not line:
        raise RuntimeError(f"{process.args} ended with status {process.wait()} before it answered")
    answer: list[Row] = json.loads(line)
    return answer
