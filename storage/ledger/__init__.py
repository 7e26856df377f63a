"""Runs, shards and results in flight, in Redis. The output table, not the ledger, is the record of truth."""

from __future__ import annotations

from storage.ledger.batch_journal import RedisJournal
from storage.ledger.deferred import Deferred, Periods
from storage.ledger.figures import Figures, Point, StageTime, increments
from storage.ledger.heartbeats import KNOWN_NODE_SECONDS
from storage.ledger.host_reports import HostReports, HostWarning
from storage.ledger.ledger import Ledger
from storage.ledger.model import (
    Attempt,
    Counts,
    Node,
    NotBegun,
    OpenShard,
    Recorded,
    Run,
    RunOrder,
    RunSpec,
    Shard,
    ShardState,
    Trouble,
    is_retry,
)
from storage.ledger.orders import RunOrders
from storage.ledger.worker_reports import WorkerReport, WorkerReports

__all__ = [
    "KNOWN_NODE_SECONDS",
    "Attempt",
    "Counts",
    "Deferred",
    "Figures",
    "HostReports",
    "HostWarning",
    "Ledger",
    "Node",
    "NotBegun",
    "OpenShard",
    "Periods",
    "Point",
    "Recorded",
    "RedisJournal",
    "Run",
    "RunOrder",
    "RunOrders",
    "RunSpec",
    "Shard",
    "ShardState",
    "StageTime",
    "Trouble",
    "WorkerReport",
    "WorkerReports",
    "increments",
    "is_retry",
]
