"""RedBeat's scheduler, made to stand by: several beats may run, the one that holds the lock ticks.

RedBeat ends the process when its lock is lost (after a freeze, or when Redis lost its memory) and when Redis does not
answer. This one goes back to waiting for the lock, and writes the schedule anew when it has it. A base class and not
composition: Celery takes a scheduler as a class and calls these methods.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from celery.utils.log import get_logger
from redbeat.schedulers import RedBeatScheduler, acquire_distributed_beat_lock
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import LockError
from redis.exceptions import TimeoutError as RedisTimeoutError

log = get_logger("celery.beat")

AWAY = (RedisConnectionError, RedisTimeoutError)


class StandbyScheduler(RedBeatScheduler):  # type: ignore[misc]  # RedBeat ships no types
    """Ticks while it holds the lock; the schedule is written to Redis under each lock anew."""

    lock: Any = None
    written_under: Any = None

    def __init__(self, app: Any, **kwargs: Any) -> None:
        """Tell RedBeat the URL that workers keep under a name which Celery masks: it holds a password."""
        if (url := app.conf.get("redbeat_secret_url")) is not None:
            app.conf.redbeat_redis_url = url
        super().__init__(app, **kwargs)

    def setup_schedule(self) -> None:
        """Write the schedule at start, or leave that to the first tick where Redis does not answer yet."""
        try:
            super().setup_schedule()
        except AWAY as error:
            log.warning("beat: Redis does not answer (%s); asking again every %g s", error, self.max_interval)

    def tick(self, *args: Any, **kwargs: Any) -> float:
        """Send what is due; return the seconds until the next tick. Blocks while another beat holds the lock."""
        try:
            if self.lock is None:
                acquire_distributed_beat_lock(sender=SimpleNamespace(scheduler=self))
            if self.written_under is not self.lock:  # another beat, of another version perhaps, was the last to write
                super().setup_schedule()
                self.written_under = self.lock
            return float(super().tick(*args, **kwargs))
        except LockError as error:
            log.warning("beat: the lock was lost (%s): another beat ticks, or Redis was emptied; standing by", error)
            self.lock = None
            return 0.0
        except AWAY as error:
            log.warning("beat: Redis does not answer (%s); asking again in %g s", error, self.max_interval)
            self.written_under = None  # it may come back empty
            return float(self.max_interval)

    def close(self) -> None:
        """Give the lock back so that a beat that stands by takes over at once; otherwise it lapses."""
        try:
            super().close()
        except (LockError, *AWAY) as error:
            log.warning("beat: the lock was not given back (%s); it lapses in %g s", error, self.lock_timeout)
            self.lock = None
