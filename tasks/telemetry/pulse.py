"""The activity of a worker process, as its event loop last recorded it."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum


class WorkerPhase(StrEnum):
    """The phase of a worker process."""

    STARTING = "starting"  # opening its runtime
    CONNECTING = "connecting"  # no broker connection
    CONSUMING = "consuming"  # its event loop runs
    DRAINING = "draining"  # finishing running tasks, taking no new ones


@dataclass(slots=True)
class Pulse:
    """The last activity of the event loop, which writes it; watching threads read it. Times in monotonic seconds."""

    worker: str = ""  # the worker's name, such as io@node1
    phase: WorkerPhase = WorkerPhase.STARTING
    is_gate_open: bool = True
    is_cordoned: bool = False  # an operator drained the worker: it takes nothing until it is resumed
    looped_at: float = field(default_factory=time.monotonic)
    received_at: float = field(default_factory=time.monotonic)
    last_task_at: datetime | None = None
