"""Warm-up: open the runtime before the first message, close it after the last task."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING

from celery import bootsteps, signals
from celery.exceptions import WorkerShutdown

from tasks.telemetry.pulse import WorkerPhase
from tasks.worker.config import WorkerConfig, wiring_of

if TYPE_CHECKING:
    from celery.worker.worker import WorkController

logger = logging.getLogger(__name__)

EX_FAILURE = 1


def consumed_queues(worker: WorkController) -> frozenset[str]:
    """Return the names of the queues this worker consumes now."""
    return frozenset(worker.app.amqp.queues.consume_from)


def _open(config: WorkerConfig, queues: frozenset[str]) -> None:
    if config.open_runtime is None:
        return
    logger.info("warming up for %s", ", ".join(sorted(queues)))
    started = time.monotonic()
    try:
        config.open_runtime(queues)
    except Exception as error:
        seconds = time.monotonic() - started
        logger.critical(
            "warm-up failed after %.1f s, nothing was consumed: %s: %s", seconds, type(error).__name__, error
        )
        logger.debug("warm-up failed", exc_info=True)
        raise WorkerShutdown(EX_FAILURE) from error
    logger.info("warm after %.1f s", time.monotonic() - started)


def _close(config: WorkerConfig) -> None:
    if config.close_runtime is not None:
        config.close_runtime()
        logger.info("runtime closed")


class WarmUp(bootsteps.StartStopStep):
    """Opens the runtime after the pool has started and before the consumer does.

    The runtime is closed by the signal ``worker_shutdown`` and not in ``stop``: the signal comes after the pool has
    finished its tasks, and also after a failed start, when Celery stops no bootstep.
    """

    requires = ("tasks.worker.stop:Drain", "tasks.worker.liveness.exposition:Exposition")  # it reports "not ready"

    def start(self, parent: WorkController) -> None:
        """Open the runtime; on failure log the reason in one line and end the worker with status 1."""
        wiring = wiring_of(parent.app)

        def on_shutdown(**_: object) -> None:
            _close(wiring.config)

        signals.worker_shutdown.connect(on_shutdown, sender=parent, weak=False)
        wiring.pulse.worker = str(parent.hostname)  # type: ignore[attr-defined]  # celery-types omits it
        _open(wiring.config, consumed_queues(parent))
        if wiring.pulse.phase is WorkerPhase.STARTING:
            wiring.pulse.phase = WorkerPhase.CONNECTING
