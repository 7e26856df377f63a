"""Leaving at once with nothing lost: every unacknowledged message goes back to its queue, then the process ends."""

from __future__ import annotations

import logging
import os
import threading
import time
from typing import TYPE_CHECKING, Any, NoReturn

if TYPE_CHECKING:
    from celery.worker.worker import WorkController

logger = logging.getLogger(__name__)

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
