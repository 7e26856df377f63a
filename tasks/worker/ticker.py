"""A daemon thread that calls one function at an interval.

Renewal, watchdog and checks run on threads and not on the event loop's timer: during a drain the main thread waits for
the pool and its timers do not run, while long tasks still need renewal and deadline.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable

logger = logging.getLogger(__name__)

EX_SOFTWARE = 70


def start_ticker(name: str, interval_seconds: float, tick: Callable[[], None]) -> threading.Event:
    """Call ``tick`` every ``interval_seconds`` until the returned event is set.

    An exception in ``tick`` ends the process with status 70: a worker without its renewal or watchdog would run tasks
    twice or hang for ever.
    """
    stopped = threading.Event()

    def run() -> None:
        try:
            while not stopped.wait(interval_seconds):
                tick()
        except Exception:
            logger.critical("the %s thread failed; ending the process", name, exc_info=True)
            os._exit(EX_SOFTWARE)

    threading.Thread(target=run, name=f"tamis-{name}", daemon=True).start()
    return stopped
