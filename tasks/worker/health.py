"""The heartbeat file: fresh while the process does its work, stale when its event loop hangs.

A probe compares the file's age with a limit (60 s is ample); it opens no connection and asks no broker. The file
stays fresh without a broker connection and during a drain: restarting the worker would help neither.
"""

from __future__ import annotations

import json
import logging
import os
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from celery import bootsteps, signals

from tasks.telemetry.pulse import Phase, Pulse
from tasks.worker.config import wiring_of
from tasks.worker.ticker import start_ticker
from tasks.worker.warmup import consumed_queues

if TYPE_CHECKING:
    from celery.worker.worker import WorkController

logger = logging.getLogger(__name__)

BEAT_SECONDS = 1.0
LOOP_SECONDS = 0.5
LOOP_LIMIT_SECONDS = 10.0
"""An event loop that has not turned for so long is not live."""


def is_live(pulse: Pulse) -> bool:
    """Say whether the event loop turns; where none runs by design, the process counts as live."""
    return pulse.phase is not Phase.CONSUMING or time.monotonic() - pulse.looped_at < LOOP_LIMIT_SECONDS


def write_heartbeat(path: Path, pulse: Pulse, queues: frozenset[str]) -> None:
    """Replace the heartbeat file in one step."""
    beat = {
        "pid": os.getpid(),
        "queues": sorted(queues),
        "phase": pulse.phase.value,
        "is_gate_open": pulse.is_gate_open,
        "last_task_at": pulse.last_task_at.isoformat() if pulse.last_task_at else None,
        "written_at": datetime.now(UTC).isoformat(),
    }
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    partial.write_text(json.dumps(beat) + "\n", encoding="utf-8")
    partial.replace(path)


class Heartbeat(bootsteps.StartStopStep):
    """Writes the file every second from the end of the warm-up, and removes it at a clean end."""

    requires = ("tasks.worker.warmup:WarmUp",)

    def include_if(self, parent: WorkController) -> bool:
        """Only where a file is configured."""
        return wiring_of(parent.app).config.health_file is not None

    def start(self, parent: WorkController) -> None:
        """Start the writing thread."""
        wiring = wiring_of(parent.app)
        path = wiring.config.health_file
        if path is None:
            return
        path.parent.mkdir(parents=True, exist_ok=True)

        def tick() -> None:
            if not is_live(wiring.pulse):
                return
            try:
                write_heartbeat(path, wiring.pulse, consumed_queues(parent))
            except OSError as error:  # a full disk must not end a worker that works
                logger.error("the heartbeat file cannot be written: %s", error)  # noqa: TRY400 - the reason is enough

        stopped = start_ticker("heartbeat", BEAT_SECONDS, tick)

        def on_shutdown(**_: object) -> None:
            stopped.set()
            path.unlink(missing_ok=True)

        signals.worker_shutdown.connect(on_shutdown, sender=parent, weak=False)


class PulseKeeper(bootsteps.StartStopStep):
    """Keeps the pulse on the event loop: which phase, when it last turned, when it last received a task."""

    requires = ("celery.worker.consumer.tasks:Tasks",)

    def __init__(self, parent: Any, **options: Any) -> None:
        super().__init__(parent, **options)
        self.pulse = wiring_of(parent.app).pulse
        self.timer_entry: Any = None
        signals.task_received.connect(self._on_received, weak=False)

    def start(self, parent: Any) -> None:
        """A connection is there and consuming begins."""
        self._turn()
        if self.pulse.phase is not Phase.DRAINING:
            self.pulse.phase = Phase.CONSUMING
        self.timer_entry = parent.timer.call_repeatedly(LOOP_SECONDS, self._turn)

    def stop(self, parent: Any) -> None:
        """The connection is lost, or the worker stops."""
        goes_on = parent.blueprint.state == bootsteps.RUN  # type: ignore[attr-defined]  # celery-types omits it
        is_draining = self.pulse.phase is Phase.DRAINING or not goes_on
        self.pulse.phase = Phase.DRAINING if is_draining else Phase.CONNECTING
        if self.timer_entry is not None:
            self.timer_entry.cancel()

    def _turn(self) -> None:
        self.pulse.looped_at = time.monotonic()

    def _on_received(self, **_: object) -> None:
        self.pulse.received_at = time.monotonic()
        self.pulse.last_task_at = datetime.now(UTC)
