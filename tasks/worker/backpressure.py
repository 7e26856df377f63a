"""Is there room for another download on this node? Looked at by a thread of its own, so that asking costs nothing."""

from __future__ import annotations

import logging
from collections.abc import Callable
from shutil import disk_usage
from typing import TYPE_CHECKING

from storage.errors import Unavailable
from tasks.broker.depth import waiting_messages
from tasks.broker.side_channel import SideChannel
from tasks.queues import gpu_queue
from tasks.resources import runtime
from tasks.settings import Settings
from tasks.worker.ticker import start_ticker

if TYPE_CHECKING:
    from celery import Celery

log = logging.getLogger(__name__)

LOOK_SECONDS = 0.25


def room_watcher(app: Celery, settings: Settings) -> Callable[[], bool]:
    """Return a function that says whether there was room at the last look; its first call starts the looking.

    There is room while the spool can take one more typical video and the node's GPU workers keep up. No answer from
    the spool or the broker counts as no room: waiting loses nothing, a full disk might.
    """
    seen: list[bool] = []

    def is_room() -> bool:
        if not seen:
            seen.append(False)
            start_ticker("back-pressure", LOOK_SECONDS, look)
        return seen[0]

    channel = SideChannel(app)
    queue, most_waiting = gpu_queue(settings.node), settings.max_queue_size * settings.gpu_workers

    def look() -> None:
        keeps_up: list[bool] = []
        channel.attempt(
            lambda broker: keeps_up.append(waiting_messages(broker, [queue]) < most_waiting), "back-pressure"
        )
        seen[0] = keeps_up == [True] and _spool_has_room(settings.typical_video_bytes)

    return is_room


def _spool_has_room(size_bytes: int) -> bool:
    opened = runtime.opened()
    if opened is None:
        return False
    try:
        # The disk may be smaller than the spool's limit, or fill up with other things: stop before it is full.
        return opened.spool.has_room(size_bytes) and disk_usage(opened.settings.spool_root).free > size_bytes
    except (Unavailable, OSError) as error:
        log.warning("no downloads while the spool does not answer: %s", error)
        return False
