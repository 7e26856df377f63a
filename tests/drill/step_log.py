"""Log of steps: each process appends one line per event with one ``write``, so a kill leaves no partial line."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tasks.queues import TaskName

RECEIVED, BEGIN, END = "received", "begin", "end"


@dataclass(frozen=True, slots=True)
class StepEvent:
    """An event of a step at ``at``, in seconds of the monotonic clock that all processes of a machine share."""

    at: float
    pid: int
    event: str
    step: str


def step_of(task: str, args: Sequence[Any]) -> str | None:
    """Return the name of a task's step: ``download 17``, ``infer 17``, ``write 0-50``; None for other tasks."""
    if task == TaskName.DOWNLOAD:
        return f"download {args[0]['ordinal']}"
    if task == TaskName.INFER:
        return f"infer {args[0]['row']['ordinal']}"
    return f"write {args[1]}" if task == TaskName.WRITE_SHARD else None


def ordinal_of(step: str | None) -> int | None:
    """Return the row of a step; None for the step of a shard."""
    name, _, rest = (step or "").partition(" ")
    return int(rest) if name in {"download", "infer"} else None


class StepLog:
    """The log file of a thread."""

    def __init__(self, directory: Path) -> None:
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT
        self._descriptor = os.open(directory / f"{os.getpid()}-{time.monotonic_ns()}", flags, 0o600)

    def note(self, event: str, step: str) -> None:
        """Append one line."""
        os.write(self._descriptor, f"{time.monotonic():.6f} {os.getpid()} {event} {step}\n".encode())


def read_step_logs(directory: Path) -> list[StepEvent]:
    """Return the events of all logs, the oldest first."""
    lines: Iterable[str] = (line for path in directory.iterdir() for line in path.read_text().splitlines())
    events = (line.split(" ", 3) for line in lines)
    return sorted((StepEvent(float(at), int(pid), event, step) for at, pid, event, step in events), key=lambda e: e.at)
