"""The sweep: it finds lost work and sends it again: unwritten full shards, and rows without a message.

A lost message leaves no trace, so a shard without progress for ``stale_shard_seconds`` is one of three cases:

* lost work: no message waits anywhere, and every attempt at the row ended, or belongs to a worker that has been silent
  for ``node_silence_seconds``: its message was delivered again long ago, and was lost after that. Sent again at once.
* a slow fleet: messages wait in some queue, or for their retry. The missing rows are most likely among them.
* long work: a living worker is working on the row.

The sweep sends the last two again only after ``BUSY_FACTOR`` times as long, since a message may have been lost while
others waited. So lost work is found after ``stale_shard_seconds`` in an idle fleet, and after ``BUSY_FACTOR`` times
that in a busy one. Each repetition doubles the shard's limit, up to ``2 ** LONGEST_DOUBLINGS`` times: a fleet that was
down for a day finds a few copies of a message, and the first result counts.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum, auto

from storage.errors import Unavailable, UsageError
from storage.ledger import OpenShard
from tasks import pipeline
from tasks.messages import RowMessage
from tasks.resources.runtime import Runtime

log = logging.getLogger(__name__)

BUSY_FACTOR = 8.0
LONGEST_DOUBLINGS = 5


class Staleness(Enum):
    """Time that a shard has been without progress, in three classes."""

    FRESH = auto()
    STALE = auto()  # too long for an idle fleet
    OVERDUE = auto()  # too long for any


@dataclass(frozen=True, slots=True)
class Sender:
    """Functions that send messages: ``publish`` for rows from their first step, ``write`` for a full shard."""

    publish: Callable[[Sequence[RowMessage]], None]
    write: Callable[[str, str], object]


def sweep(rt: Runtime, send: Sender, is_quiet: Callable[[], bool]) -> None:
    """Send lost work of every open shard again, except of runs that are paused or cancelled.

    ``is_quiet()``, called for stale shards, says that no message waits.
    """
    for run in rt.ledger.runs():
        if run.order:
            continue  # its rows without a result were dropped on purpose
        for shard in rt.ledger.open_shards(run.run_id):
            age = staleness(shard, rt.settings.delivery.stale_shard_seconds)
            if age is Staleness.OVERDUE or (age is Staleness.STALE and is_quiet()):
                _send_again(run.run_id, shard, age, rt, send)


def staleness(shard: OpenShard, stale_seconds: float) -> Staleness:
    """Compare the shard's time without progress with its limit."""
    limit_seconds = stale_seconds * 2.0 ** min(shard.refeeds, LONGEST_DOUBLINGS)
    if shard.idle_seconds <= limit_seconds:
        return Staleness.FRESH
    return Staleness.OVERDUE if shard.idle_seconds > BUSY_FACTOR * limit_seconds else Staleness.STALE


def _send_again(run_id: str, shard: OpenShard, age: Staleness, rt: Runtime, send: Sender) -> None:
    missing = frozenset(rt.ledger.missing(run_id, shard.shard_id))
    lost = missing if age is Staleness.OVERDUE else missing - _in_hand(run_id, shard, rt)
    if missing and not lost:
        return  # living workers have all of them
    try:
        rows = pipeline.feed_again(run_id, shard.shard_id, lost, rt, send.publish) if lost else 0
    except (Unavailable, UsageError) as error:  # of this run's tables: the other runs are swept all the same
        log.warning("run %s: shard %s cannot be fed again: %s", run_id, shard.shard_id, error)
        return
    rt.ledger.note_refeed(run_id, shard.shard_id)  # only now: a table that cannot be read must not double the limit
    if rows:
        log.warning("run %s: shard %s made no progress: fed %d rows again", run_id, shard.shard_id, rows)
    else:
        send.write(run_id, shard.shard_id)
        log.warning("run %s: shard %s is full and not written: writing it again", run_id, shard.shard_id)


def _in_hand(run_id: str, shard: OpenShard, rt: Runtime) -> frozenset[int]:
    """Return the rows of the shard that a living worker, or a worker unknown to the ledger, is working on."""
    living = rt.ledger.heartbeats.living_workers(rt.settings.delivery.node_silence_seconds)
    return rt.ledger.attempts.in_progress(run_id, shard.shard_id, living)
