"""What a stop signal does.

* SIGTERM or SIGINT: drain. Take nothing new, finish what runs, give back what waits, close the runtime, status 0.
  While still warming up there is nothing to finish: stop at once.
* Once more, or SIGQUIT: leave. Give back what runs too and end within seconds, status 0.

Celery's own second Ctrl-C cancels running tasks, which the threads pool cannot do: it raises in the handler.
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

from tasks.telemetry.pulse import Phase, Pulse
from tasks.worker.config import wiring_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from celery.worker.worker import WorkController

logger = logging.getLogger(__name__)

SAME_REQUEST_SECONDS = 1.0
"""A terminal signals the whole process group and a supervisor passes its own on: both mean one request."""


class StopSignals:
    """Counts the stop signals of one worker."""

    def __init__(self, worker: WorkController, pulse: Pulse, drain: Callable[[int, FrameType | None], object]) -> None:
        self.worker = worker
        self.pulse = pulse
        self.drain = drain
        self.first_at: float | None = None

    def __call__(self, signum: int, frame: FrameType | None) -> None:
        """Handle a signal: runs on the main thread, between any two bytecodes of it."""
        if self.first_at is None and signum != signal.SIGQUIT:
            self.first_at = time.monotonic()
            self._stop_taking(signum, frame)
        elif self.first_at is None or time.monotonic() - self.first_at > SAME_REQUEST_SECONDS:
            reason = f"{signal.Signals(signum).name} asks to stop at once"
            threading.Thread(target=leave, args=(self.worker, 0, reason), daemon=True).start()

    def _stop_taking(self, signum: int, frame: FrameType | None) -> None:
        was_starting = self.pulse.phase is Phase.STARTING
        self.pulse.phase = Phase.DRAINING
        self.drain(signum, frame)
        if was_starting:
            raise WorkerShutdown(0)


class Drain(bootsteps.StartStopStep):
    """Puts our handler around Celery's, which is in place before the first bootstep starts."""

    requires = ("celery.worker.components:Pool",)

    def start(self, parent: WorkController) -> None:
        """Install the handlers; an embedded worker off the main thread has none."""
        warm_shutdown = signal.getsignal(signal.SIGTERM)
        if not callable(warm_shutdown) or threading.current_thread() is not threading.main_thread():
            return
        handler = StopSignals(parent, wiring_of(parent.app).pulse, warm_shutdown)
        for signum in (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT):
            signal.signal(signum, handler)


# ── leave at once ─────────────────────────────────────────────────────────────────────────────────────────────────────


LOOP_SECONDS = 2.0
"""How long the event loop has to do it itself."""
HAND_BACK_SECONDS = 10.0
"""How long giving back may take in all. Whatever is left lapses with its lease."""

_started = threading.Lock()
_handing_back = threading.Lock()


def _close_channel(consumer: Any) -> None:
    """Do what Celery's own shutdown does after the pool has ended, in its order.

    Closing the hub runs the acks that finished tasks have queued. Closing the channel first reads the pending
    BRPOP and then restores: ``qos.restore_unacked()`` alone would let that BRPOP pop a restored message for good.
    """
    if consumer.hub:
        consumer.hub.close()
    if consumer.task_consumer is not None:
        channel = consumer.task_consumer.channel
        channel.do_restore = True
        channel.close()


def leave(worker: WorkController, status: int, reason: str) -> NoReturn:
    """Hand everything back and end the process with ``status``. Call it from a thread of its own.

    Works while pool threads hang in C code and while the main thread waits for them.
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
            logger.warning("left without the broker, the leases will lapse: %s", error)
        finally:
            os._exit(status)

    # The loop's own thread first: it may be reading the very socket that closing reads.
    consumer.call_soon(hand_back)
    time.sleep(LOOP_SECONDS)
    threading.Thread(target=hand_back, name="tamis-leave", daemon=True).start()
    time.sleep(HAND_BACK_SECONDS)
    os._exit(status)
