"""What a worker process is doing, as its event loop last noted it."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum


class Phase(StrEnum):
    """What a worker process is doing."""

    STARTING = "starting"  # opening its runtime
    CONNECTING = "connecting"  # without a broker connection
    CONSUMING = "consuming"  # its event loop runs
    DRAINING = "draining"  # finishing what runs, taking nothing new


@dataclass(slots=True)
class Pulse:
    """What the event loop last did; written there, read by the watching threads. Times are monotonic seconds."""

    phase: Phase = Phase.STARTING
    is_gate_open: bool = True
    is_cordoned: bool = False  # an operator drained the worker: it takes nothing until told otherwise
    looped_at: float = field(default_factory=time.monotonic)
    received_at: float = field(default_factory=time.monotonic)
    last_task_at: datetime | None = None
