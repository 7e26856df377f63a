"""Stop signals of a worker.

* SIGTERM or SIGINT: drain. Take no new messages, finish running tasks, return waiting messages to their queues, close
  the runtime, status 0. During the warm-up there is nothing to finish: stop at once.
* The second such signal, or SIGQUIT: leave. Return the messages of running tasks too, and end within seconds, status 0.

Celery's own second Ctrl-C cancels running tasks. The threads pool cannot do that: it raises in the handler.
"""

from __future__ import annotations

import logging
import os
import signal
import threading
import time
from types import FrameType
from typing import TYPE_CHECKING, Any, NoReturn

from celery import bootsteps
from celery.exceptions import WorkerShutdown

from tasks.telemetry.pulse import Pulse, WorkerPhase
from tasks.worker.config import wiring_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from celery.worker.worker import WorkController

logger = logging.getLogger(__name__)

SAME_REQUEST_SECONDS = 1.0
"""Signals within this time are one request: a terminal signals the whole process group, and a supervisor passes its own
signal on."""


class StopSignals:
    """Counts the stop signals of one worker."""

    def __init__(self, worker: WorkController, pulse: Pulse, drain: Callable[[int, FrameType | None], object]) -> None:
        self.worker = worker
        self.pulse = pulse
        self.drain = drain
        self.first_at: float | None = None

    def __call__(self, signum: int, frame: FrameType | None) -> None:
        """Handle a signal, on the main thread between two bytecodes."""
        if self.first_at is None and signum != signal.SIGQUIT:
            self.first_at = time.monotonic()
            self._stop_taking(signum, frame)
        elif self.first_at is None or time.monotonic() - self.first_at > SAME_REQUEST_SECONDS:
            reason = f"{signal.Signals(signum).name} asks to stop at once"
            threading.Thread(target=leave, args=(self.worker, 0, reason), daemon=True).start()

    def _stop_taking(self, signum: int, frame: FrameType | None) -> None:
        was_starting = self.pulse.phase is WorkerPhase.STARTING
        self.pulse.phase = WorkerPhase.DRAINING
        self.drain(signum, frame)
        if was_starting:
            raise WorkerShutdown(0)


class Drain(bootsteps.StartStopStep):
    """Wraps Celery's signal handlers, which are installed before the first bootstep starts."""

    requires = ("celery.worker.components:Pool",)

    def start(self, parent: WorkController) -> None:
        """Install the handlers; a worker that does not run on the main thread has none."""
        warm_shutdown = signal.getsignal(signal.SIGTERM)
        if not callable(warm_shutdown) or threading.current_thread() is not threading.main_thread():
            return
        handler = StopSignals(parent, wiring_of(parent.app).pulse, warm_shutdown)
        for signum in (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT):
            signal.signal(signum, handler)


# ── leave at once ─────────────────────────────────────────────────────────────────────────────────────────────────────


LOOP_SECONDS = 2.0
"""Time for the event loop to return the messages itself."""
HAND_BACK_SECONDS = 10.0
"""Time limit for returning messages. The broker delivers the rest again after their visibility timeout."""

_started = threading.Lock()
_handing_back = threading.Lock()


def _close_channel(consumer: Any) -> None:
    """Close hub and channel in the order of Celery's own shutdown.

    Closing the hub runs the acknowledgements that finished tasks have queued. Closing the channel first reads the
    pending BRPOP and then restores messages: after ``qos.restore_unacked()`` alone, that BRPOP would take a restored
    message and lose it.
    """
    if consumer.hub:
        consumer.hub.close()
    if consumer.task_consumer is not None:
        channel = consumer.task_consumer.channel
        channel.do_restore = True
        channel.close()


def leave(worker: WorkController, status: int, reason: str) -> NoReturn:
    """Return all messages to their queues and end the process with ``status``. Call it on a separate thread.

    It works while pool threads hang in C code and while the main thread waits for them.
    """
    if not _started.acquire(blocking=False):
        threading.Event().wait()  # another thread is leaving already
    logger.critical("leaving with status %d: %s", status, reason)
    consumer: Any = worker.consumer  # type: ignore[attr-defined]  # set by the Consumer bootstep

    def hand_back() -> None:
        if not _handing_back.acquire(blocking=False):
            return
        try:
            _close_channel(consumer)
            logger.warning("left: unacknowledged messages are back in their queues")
        except consumer.connection_errors as error:
            logger.warning(
                "left without the broker; messages are delivered again after their visibility timeout: %s", error
            )
        finally:
            os._exit(status)

    # First on the loop's own thread: it may be reading the socket that closing reads.
    consumer.call_soon(hand_back)
    time.sleep(LOOP_SECONDS)
    threading.Thread(target=hand_back, name="tamis-leave", daemon=True).start()
    time.sleep(HAND_BACK_SECONDS)
    os._exit(status)
