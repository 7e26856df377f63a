"""Every worker process tells the ledger that it lives, that its node does, and which queues are served there."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable

from storage.errors import Unavailable
from storage.ledger import Ledger
from tasks.settings import Settings
from tasks.worker.ticker import start_ticker

log = logging.getLogger(__name__)

BEATS_PER_SILENCE = 6


def start_heartbeat(
    ledger: Ledger,
    settings: Settings,
    queues: Iterable[str],
    *,
    worker: str,
    is_serving: Callable[[], bool] = lambda: True,
) -> threading.Event:
    """Beat now and then every few seconds, until the returned event is set. The roles are the queues' names.

    A worker that is not serving its queues does not say that they are served; it lives all the same, and what it has in
    hand is not lost.
    """
    roles = frozenset(queues)

    def beat() -> None:
        try:
            ledger.beat_worker(worker)
            if is_serving():
                ledger.beat_node(settings.node.name, roles)
        except Unavailable as error:
            log.warning("node %s could not say that it lives: %s", settings.node.name, error)

    beat()
    return start_ticker("node", settings.delivery.node_silence_seconds / BEATS_PER_SILENCE, beat)
