"""The periodic tasks of a fleet. Most repeat work that an event normally starts, in case the event was lost.

Several beats may run, for example one on each node: each sends every task, and the fleet runs it once per period
(``tasks/chores.py``). A message expires after its period, so that a fleet that was down finds only new ones.
"""

from __future__ import annotations

from typing import Any

from tasks.queues import PERIOD_HEADER, QUEUE_OF, TaskName


def every(seconds: float, task: TaskName) -> dict[str, Any]:
    """Return a schedule entry that sends ``task`` to its queue every ``seconds``."""
    return {
        "task": task.value,
        "schedule": seconds,
        "options": {"expires": seconds, "queue": QUEUE_OF[task].value, "headers": {PERIOD_HEADER: seconds}},
    }


SCHEDULE: dict[str, dict[str, Any]] = {
    # A run continues without beat: submit and every written shard wake the feeder. This makes up for a lost wake-up.
    "feed-open-runs": every(10.0, TaskName.TOP_UP),
    # Shards without progress, and full shards that were not written.
    "sweep-stale-shards": every(15.0, TaskName.SWEEP),
    # Messages for the GPU workers of a node that has no such worker any more.
    "rescue-dead-nodes": every(10.0, TaskName.RESCUE),
    # New partitions of the declared sources. Each source has its own schedule: this only checks which are due.
    "ingest-new-partitions": every(5.0, TaskName.INGEST),
}
