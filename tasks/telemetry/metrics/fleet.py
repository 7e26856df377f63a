"""Metrics of the whole fleet, read from ledger and broker at a scrape of a control worker.

Every control worker gives the same values: aggregate with ``max``, not with ``sum``.
"""

from __future__ import annotations

import json
import time
from collections import defaultdict
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from prometheus_client.core import Metric

from storage.errors import Unavailable
from tasks.broker.queue_depth import waiting_messages
from tasks.broker.side_channel import SideChannel
from tasks.queues import Queue, gpu_queue
from tasks.telemetry.metrics.families import Labels, MetricFamily, metrics
from tasks.telemetry.metrics.waits import SENT_AT

if TYPE_CHECKING:
    from celery import Celery

    from storage.ledger import Ledger, Run

FAMILIES = (
    MetricFamily(
        "tamis_run_rows",
        "Rows of a run by state: ok, failed, in_flight, held (without a result in a paused or cancelled run)",
        ("run", "outputs", "state"),
    ),
    MetricFamily("tamis_run_failures", "Failed rows of a run by code", ("run", "code")),
    MetricFamily("tamis_run_trouble", "1 while a step of the run waits", ("run",)),
    MetricFamily("tamis_queue_messages", "Messages waiting in a queue", ("queue",)),
    MetricFamily("tamis_queue_oldest_seconds", "Age of the oldest message waiting in a queue (Redis only)", ("queue",)),
    MetricFamily("tamis_unacked_messages", "Messages delivered to workers and not yet acknowledged (Redis only)"),
    MetricFamily(
        "tamis_node_silence_seconds",
        "Seconds since a worker of the node reported that it serves a queue",
        ("node", "queue"),
    ),
)
SHOWN_NODE_SECONDS = 3600.0  # a node that was silent for longer has no series
MOST_RUNS = 50  # the newest; a series for every run ever would grow without limit

Found = dict[str, list[tuple[Labels, float]]]


class FleetCollector:
    """Reads ledger and broker. A server that does not answer gives no samples; the scrape continues."""

    def __init__(self, ledger: Ledger, app: Celery) -> None:
        self._ledger = ledger
        self._app = app

    def describe(self) -> Iterator[Metric]:
        """Return every family without samples."""
        return metrics(FAMILIES, {})

    def collect(self) -> Iterator[Metric]:
        """Return every family with its present samples."""
        found: Found = defaultdict(list)
        try:
            for run in self._ledger.runs()[:MOST_RUNS]:
                self._read_run(run, found)
            nodes = self._ledger.heartbeats.nodes(SHOWN_NODE_SECONDS)
        except Unavailable:
            return metrics(FAMILIES, found)
        found["tamis_node_silence_seconds"] = [
            ((node.name, queue), seconds) for node in nodes for queue, seconds in node.role_age_seconds.items()
        ]
        queues = [*Queue, *(gpu_queue(node.name) for node in nodes)]
        side = SideChannel(self._app)  # a new one, since a scrape may run on any thread
        side.attempt(lambda channel: _read_queues(channel, [str(queue) for queue in queues], found), "metrics")
        side.close()
        return metrics(FAMILIES, found)

    def _read_run(self, run: Run, found: Found) -> None:
        if (counts := self._ledger.counts(run.run_id)) is None:
            return
        in_flight, held = (0, counts.in_flight) if run.order else (counts.in_flight, 0)
        states = {"ok": counts.ok, "failed": counts.failed, "in_flight": in_flight, "held": held}
        found["tamis_run_rows"] += [((run.run_id, run.spec.outputs, state), rows) for state, rows in states.items()]
        found["tamis_run_failures"] += [((run.run_id, code), rows) for code, rows in counts.failures.items()]
        found["tamis_run_trouble"].append(((run.run_id,), float(self._ledger.trouble(run.run_id) is not None)))


def _read_queues(channel: Any, queues: list[str], found: Found) -> None:
    for queue in queues:
        found["tamis_queue_messages"].append(((queue,), waiting_messages(channel, [queue])))
    if not hasattr(channel, "unacked_key"):  # RabbitMQ reports them in its management plugin
        return
    with channel.conn_or_acquire() as client:
        found["tamis_unacked_messages"] = [((), client.hlen(channel.unacked_key))]
        for queue in queues:
            name_of = channel._q_for_pri  # noqa: SLF001 -- kombu's list for each priority (pinned, tested)
            # kombu 5.7 adds its global_keyprefix to the keys of some commands, but not of LINDEX.
            lists = [f"{channel.global_keyprefix}{name_of(queue, step)}" for step in channel.priority_steps]
            sent = [_sent_at(client.lindex(name, -1)) for name in lists]  # the oldest: kombu pushes on the left
            if known := [at for at in sent if at is not None]:
                found["tamis_queue_oldest_seconds"].append(((queue,), max(0.0, time.time() - min(known))))


def _sent_at(message: bytes | None) -> float | None:
    """Return the time at which a waiting message was sent, in seconds since the epoch; ``None`` if it has no stamp."""
    if message is None:
        return None
    sent_at = json.loads(message).get("headers", {}).get(SENT_AT)
    return float(sent_at) if isinstance(sent_at, int | float) else None
