"""What was lost: full shards that nobody writes, rows of open shards that nobody works on.

A lost message leaves no trace, so a shard without progress for ``stale_shard_seconds`` is one of three things:

* lost work: no message waits anywhere, and every attempt at the row ended, or was begun by a worker that is silent
  for ``node_silence_seconds``: its message came back long ago, and was lost on its further way. Done again at once.
* a slow fleet: messages wait in some queue, or for their retry. What is missing most likely waits among them.
* long work: a living worker has the row in hand.

The last two are left alone until they took ``BUSY_FACTOR`` times as long; then they too are done again, for a message
may have been lost behind a full queue. So lost work is found after ``stale_shard_seconds``
in an idle fleet, and after ``BUSY_FACTOR`` times that in any. Each time again doubles the shard's patience, up to
``2 ** LONGEST_DOUBLINGS`` times: a fleet that is down for a day finds a handful of copies of a message, no more, and
the first result counts.
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
    """How long a shard has been without progress."""

    FRESH = auto()
    STALE = auto()  # too long for an idle fleet
    OVERDUE = auto()  # too long for any


@dataclass(frozen=True, slots=True)
class Sender:
    """How messages leave: rows on their way from the start, and a full shard to be written."""

    publish: Callable[[Sequence[RowMessage]], None]
    write: Callable[[str, str], object]


def sweep(rt: Runtime, send: Sender, is_quiet: Callable[[], bool]) -> None:
    """Look after every open shard. ``is_quiet()`` says that no message waits; it is asked only when it matters."""
    for run in rt.ledger.runs():
        for shard in rt.ledger.open_shards(run.run_id):
            age = staleness(shard, rt.settings.delivery.stale_shard_seconds)
            if age is Staleness.OVERDUE or (age is Staleness.STALE and is_quiet()):
                _look_after(run.run_id, shard, age, rt, send)


def staleness(shard: OpenShard, stale_seconds: float) -> Staleness:
    """Compare the shard's idle time with its patience."""
    patience_seconds = stale_seconds * 2.0 ** min(shard.refeeds, LONGEST_DOUBLINGS)
    if shard.idle_seconds <= patience_seconds:
        return Staleness.FRESH
    return Staleness.OVERDUE if shard.idle_seconds > BUSY_FACTOR * patience_seconds else Staleness.STALE


def _look_after(run_id: str, shard: OpenShard, age: Staleness, rt: Runtime, send: Sender) -> None:
    missing = frozenset(rt.ledger.missing(run_id, shard.shard_id))
    lost = missing if age is Staleness.OVERDUE else missing - _in_hand(run_id, shard, rt)
    if missing and not lost:
        return  # all in somebody's hands
    try:
        rows = pipeline.feed_again(run_id, shard.shard_id, lost, rt, send.publish) if lost else 0
    except (Unavailable, UsageError) as error:  # of this run's tables: the other runs go on
        log.warning("run %s: shard %s cannot be fed again: %s", run_id, shard.shard_id, error)
        return
    rt.ledger.note_refeed(run_id, shard.shard_id)  # not before: a table that cannot be read must not cost patience
    if rows:
        log.warning("run %s: shard %s made no progress: fed %d rows again", run_id, shard.shard_id, rows)
    else:
        send.write(run_id, shard.shard_id)
        log.warning("run %s: shard %s is full and not written: writing it again", run_id, shard.shard_id)


def _in_hand(run_id: str, shard: OpenShard, rt: Runtime) -> frozenset[int]:
    """Rows that a living worker works on, or one of whom nobody knows."""
    living = rt.ledger.living_workers(rt.settings.delivery.node_silence_seconds)
    return rt.ledger.in_hand(run_id, shard.shard_id, living)
