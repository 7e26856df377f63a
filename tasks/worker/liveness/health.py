"""Liveness of a worker: its health file for probes, and its presence in the ledger for the fleet.

The health file is fresh while the process works, and stale when its event loop hangs. A probe compares the file's age
with a limit (60 s is ample), without any connection. The file stays fresh without a broker connection and during a
drain, because a restart would help in neither case.
"""

from __future__ import annotations

import json
import logging
import os
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from celery import bootsteps, signals

from storage.errors import Unavailable
from storage.ledger import Ledger, WorkerReport, WorkerReports
from tasks.settings import Settings
from tasks.telemetry.pulse import Pulse, WorkerPhase
from tasks.worker.config import wiring_of
from tasks.worker.ticker import start_ticker
from tasks.worker.warmup import consumed_queues

if TYPE_CHECKING:
    from celery.worker.worker import WorkController

logger = logging.getLogger(__name__)

FILE_SECONDS = 1.0  # between writes of the health file
LOOP_SECONDS = 0.5  # between notes of the event loop
LOOP_LIMIT_SECONDS = 10.0  # without such a note, the event loop hangs
REPORTS_PER_SILENCE = 6  # presence reports per ``node_silence_seconds``
STATE_SECONDS = 3.0  # between reports of a worker that takes no messages


def is_live(pulse: Pulse) -> bool:
    """Return whether the event loop runs; in phases without an event loop the process counts as live."""
    return pulse.phase is not WorkerPhase.CONSUMING or time.monotonic() - pulse.looped_at < LOOP_LIMIT_SECONDS


def write_health_file(path: Path, pulse: Pulse, queues: frozenset[str]) -> None:
    """Replace the health file atomically."""
    status = {
        "pid": os.getpid(),
        "queues": sorted(queues),
        "phase": pulse.phase.value,
        "is_gate_open": pulse.is_gate_open,
        "last_task_at": pulse.last_task_at.isoformat() if pulse.last_task_at else None,
        "written_at": datetime.now(UTC).isoformat(),
    }
    partial = path.with_name(f".{path.name}.partial")  # one name: a killed process leaves one file at most
    partial.write_text(json.dumps(status) + "\n", encoding="utf-8")
    partial.replace(path)


class HealthFile(bootsteps.StartStopStep):
    """Writes the file every second from the end of the warm-up, and removes it at a clean end."""

    requires = ("tasks.worker.warmup:WarmUp",)

    def include_if(self, parent: WorkController) -> bool:
        """Return whether a file is configured."""
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
                write_health_file(path, wiring.pulse, consumed_queues(parent))
            except OSError as error:  # a full disk must not end a worker that works
                logger.error("the health file cannot be written: %s", error)  # noqa: TRY400 - the reason is enough

        stopped = start_ticker("health", FILE_SECONDS, tick)

        def on_shutdown(**_: object) -> None:
            stopped.set()
            path.unlink(missing_ok=True)

        signals.worker_shutdown.connect(on_shutdown, sender=parent, weak=False)


class PulseKeeper(bootsteps.StartStopStep):
    """Notes on the event loop the worker's phase, and the times of its last turn and its last message."""

    requires = ("celery.worker.consumer.tasks:Tasks",)

    def __init__(self, parent: Any, **options: Any) -> None:
        super().__init__(parent, **options)
        self.pulse = wiring_of(parent.app).pulse
        self.timer_entry: Any = None
        signals.task_received.connect(self._on_received, weak=False)

    def start(self, parent: Any) -> None:
        """Note that the worker is connected and begins to consume."""
        self._turn()
        if self.pulse.phase is not WorkerPhase.DRAINING:
            self.pulse.phase = WorkerPhase.CONSUMING
        self.timer_entry = parent.timer.call_repeatedly(LOOP_SECONDS, self._turn)

    def stop(self, parent: Any) -> None:
        """Note that the connection is lost, or that the worker stops."""
        goes_on = parent.blueprint.state == bootsteps.RUN  # type: ignore[attr-defined]  # celery-types omits it
        is_draining = self.pulse.phase is WorkerPhase.DRAINING or not goes_on
        self.pulse.phase = WorkerPhase.DRAINING if is_draining else WorkerPhase.CONNECTING
        if self.timer_entry is not None:
            self.timer_entry.cancel()

    def _turn(self) -> None:
        self.pulse.looped_at = time.monotonic()

    def _on_received(self, **_: object) -> None:
        self.pulse.received_at = time.monotonic()
        self.pulse.last_task_at = datetime.now(UTC)


# ── presence in the ledger ────────────────────────────────────────────────────────────────────────────────────────────


def start_presence_reports(
    ledger: Ledger,
    settings: Settings,
    queues: Iterable[str],
    *,
    worker: str,
    is_serving: Callable[[], bool] = lambda: True,
) -> threading.Event:
    """Report the worker and its queues to the ledger now and every few seconds, until the returned event is set.

    A worker that is not serving reports itself but not its queues: they count as unserved, its attempts as in progress.
    """
    roles = frozenset(queues)

    def report() -> None:
        try:
            ledger.heartbeats.beat_worker(worker)
            if is_serving():
                ledger.heartbeats.beat_node(settings.node.name, roles)
        except Unavailable as error:
            logger.warning("node %s could not report to the ledger: %s", settings.node.name, error)

    report()
    return start_ticker("presence", settings.delivery.node_silence_seconds / REPORTS_PER_SILENCE, report)


def start_state_reports(
    reports: WorkerReports, worker: str, state: str, queues: Iterable[str], *, is_in_state: Callable[[], bool]
) -> threading.Event:
    """Report the state every few seconds, while ``is_in_state()``, until the returned event is set.

    The reports are for people. A ledger that does not answer is not logged here: the presence reports do that.
    """
    served, since = frozenset(queues), [time.monotonic()]

    def report() -> None:
        if not is_in_state():
            since[0] = time.monotonic()
            return
        with suppress(Unavailable):
            reports.put(WorkerReport(worker, state, served, time.monotonic() - since[0]))

    report()
    return start_ticker(f"report-{state}", STATE_SECONDS, report)
