"""RedBeat's scheduler with standby: several beats may run, and the holder of the lock ticks.

RedBeat ends the process when its lock is lost (after a freeze, or when Redis was emptied) and when Redis does not
answer. This scheduler waits for the lock again, and writes the schedule again once it holds it. It inherits because
Celery takes a scheduler as a class and calls these methods.
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
    """Ticks while it holds the lock; writes the schedule to Redis each time it has acquired the lock."""

    lock: Any = None
    written_under: Any = None

    def __init__(self, app: Any, **kwargs: Any) -> None:
        """Give RedBeat its URL. It holds a password, so the app keeps it under a name that Celery masks in reports."""
        if (url := app.conf.get("redbeat_secret_url")) is not None:
            app.conf.redbeat_redis_url = url
        super().__init__(app, **kwargs)

    def setup_schedule(self) -> None:
        """Write the schedule at start, or in the first tick if Redis does not answer yet."""
        try:
            super().setup_schedule()
        except AWAY as error:
            log.warning("beat: Redis does not answer (%s); asking again every %g s", error, self.max_interval)

    def tick(self, *args: Any, **kwargs: Any) -> float:
        """Send what is due; return the seconds until the next tick. Blocks while another beat holds the lock."""
        try:
            if self.lock is None:
                acquire_distributed_beat_lock(sender=SimpleNamespace(scheduler=self))
            if self.written_under is not self.lock:  # another beat, perhaps of another version, wrote last
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
        """Release the lock so that a standby beat takes over at once; otherwise it expires."""
        try:
            super().close()
        except (LockError, *AWAY) as error:
            log.warning("beat: the lock was not released (%s); it expires in %g s", error, self.lock_timeout)
            self.lock = None
