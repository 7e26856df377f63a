"""What runs on a clock: the safety nets under a fleet that otherwise wakes itself.

Every entry expires after its own period, so a fleet that was away does not find a pile of stale ticks.
"""

from __future__ import annotations

from typing import Any

from tasks.queues import QUEUE_OF, TaskName


def every(seconds: float, task: TaskName) -> dict[str, Any]:
    """Return a schedule entry that sends ``task`` to its queue every ``seconds``."""
    return {
        "task": task.value,
        "schedule": seconds,
        "options": {"expires": seconds, "queue": QUEUE_OF[task].value},
    }


SCHEDULE: dict[str, dict[str, Any]] = {
    # A run goes on without beat: submit and every written shard wake the feeder. This catches a lost wake-up.
    "feed-open-runs": every(10.0, TaskName.TOP_UP),
    # Shards that stopped making progress, and full shards that nobody wrote.
    "sweep-stale-shards": every(15.0, TaskName.SWEEP),
    # Messages for the GPU workers of a node that has none any more.
    "rescue-dead-nodes": every(10.0, TaskName.RESCUE),
    # New partitions of the declared sources. Each source has a schedule of its own: this only asks which are due.
    "ingest-new-partitions": every(5.0, TaskName.INGEST),
}
