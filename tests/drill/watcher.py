"""`tamis watch` beside the drill: it must outlast every fault, and end by itself with the run."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tasks.settings.environment import child_environ
from tests.drill.fleet import APP

UNREACHABLE = 2  # the broker was away, or wiped, when the command began
AGAIN_SECONDS = 1.0


@dataclass
class Watcher:
    """The command as a process, started again after each of its ends until the run is complete."""

    run_id: str
    environment: Mapping[str, str]
    log: Path
    problems: list[str] = field(default_factory=list)
    starts: int = 0
    _process: subprocess.Popen[bytes] | None = None
    _ended_at: float = float("-inf")

    def check(self) -> None:
        """Start the command unless it runs; note a problem if it ended in any other way than it may."""
        if self._process is not None and self._process.poll() is not None:
            self._note_end(self._process.returncode)
        if self._process is None and time.monotonic() - self._ended_at > AGAIN_SECONDS:
            self.starts += 1
            with self.log.open("ab") as output:
                self._process = subprocess.Popen(
                    [sys.executable, "-m", "tasks", "-A", APP, "watch", self.run_id],
                    env=child_environ(**self.environment),
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                )

    def finish(self, seconds: float) -> None:
        """Wait until the command has seen the end of the run, which is complete."""
        self.check()
        try:
            if self._process is not None:
                self._note_end(self._process.wait(seconds))
        except subprocess.TimeoutExpired:
            self.problems.append(f"`tamis watch` still runs {seconds:g} s after the run is complete")
            self.stop()
        last = self.log.read_text(encoding="utf-8").strip().splitlines()[-1:]
        if not any(line.startswith("complete  ") for line in last):
            self.problems.append(f"the last line of `tamis watch` is {last}")

    def stop(self) -> None:
        """End the command."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def _note_end(self, status: int) -> None:
        self._process, self._ended_at = None, time.monotonic()
        if status not in {0, UNREACHABLE}:
            self.problems.append(f"`tamis watch` ended with status {status}: see {self.log}")
