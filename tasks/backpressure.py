"""Is there room for another download on this node? Looked at by a thread of its own, so that asking costs nothing."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from storage.errors import Unavailable
from tasks import runtime
from tasks.queues import gpu_queue
from tasks.settings import Settings
from tasks.worker.depth import waiting_messages
from tasks.worker.side_channel import SideChannel
from tasks.worker.ticker import start_ticker

if TYPE_CHECKING:
    from celery import Celery

log = logging.getLogger(__name__)

LOOK_SECONDS = 0.25


def watch_room(app: Celery, settings: Settings) -> Callable[[], bool]:
    """Start looking; the returned function says whether there was room at the last look.

    There is room while the spool can take one more typical video and the node's GPU workers keep up. No answer from
    the spool or the broker counts as no room: waiting loses nothing, a full disk might.
    """
    channel = SideChannel(app)
    queue, most_waiting = gpu_queue(settings.node), settings.max_queue_size * settings.gpu_workers
    has_room = False

    def look() -> None:
        nonlocal has_room
        answer: list[bool] = []
        channel.attempt(
            lambda open_channel: answer.append(_waiting(open_channel, queue) < most_waiting), "back-pressure"
        )
        has_room = bool(answer and answer[0] and _spool_has_room(settings.typical_video_bytes))

    start_ticker("back-pressure", LOOK_SECONDS, look)
    return lambda: has_room


def _waiting(channel: Any, queue: str) -> int:
    return waiting_messages(channel, [queue])


def _spool_has_room(size_bytes: int) -> bool:
    opened = runtime.opened()
    if opened is None:
        return False
    try:
        return opened.spool.has_room(size_bytes)
    except Unavailable as error:
        log.warning("no downloads while the spool does not answer: %s", error)
        return False
