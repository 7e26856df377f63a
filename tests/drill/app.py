"""The fleet's Celery app with faulty stores, a light judge and a step log: ``celery -A tests.drill.app worker …``."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

from celery.signals import task_postrun, task_prerun, task_received, worker_ready

import tasks.celery
import tasks.delivery.sweep
import tasks.resources.runtime
from storage.ledger import Deferred, Ledger, Periods
from storage.spool import Spool
from storage.tables.odps.rows import Stamp
from storage.tables.protocol import InputTable
from storage.tables.version import InputVersion
from storage.tiers import Tier, Tiers
from tasks.celery import app
from tasks.queues import PERIOD_HEADER, Queue, is_gpu_queue
from tasks.resources.opening import OpenedOnce
from tasks.resources.redis import WORKER_PATIENCE_SECONDS, ledger_client
from tasks.resources.runtime import Runtime
from tasks.resources.tables import open_input, open_output
from tasks.settings import Settings, current
from tests.drill import judging
from tests.drill.step_log import BEGIN, END, RECEIVED, StepLog, ordinal_of, step_of
from tests.drill.storage import FaultyOutput, FaultyStore
from tests.drill.world import from_environment

__all__ = ["app"]

BEAT_QUICKENED = 5.0  # factor: periodic tasks run every few seconds
CLOCK_AHEAD = timedelta(minutes=10)
OPEN_SECONDS = 3.0  # instead of 30, as everything is quicker here
BUSY_FACTOR = 3.0  # instead of 8: work lost in a busy fleet is found in half a minute

world, logs = from_environment(), threading.local()
for entry in app.conf.beat_schedule.values():
    entry["schedule"] /= BEAT_QUICKENED
    headers = {PERIOD_HEADER: entry["schedule"]}
    entry["options"] = {**entry["options"], "expires": entry["schedule"], "headers": headers}
tasks.celery.RECLAIM_SECONDS /= BEAT_QUICKENED
tasks.delivery.sweep.BUSY_FACTOR = BUSY_FACTOR


def open_drill_runtime(settings: Settings, queues: Iterable[str]) -> Runtime:
    """Open a runtime like :func:`tasks.resources.runtime.open_runtime`, with failing stores and no models."""
    names, plan, client = set(queues), world.plan, ledger_client(settings, patience_seconds=WORKER_PATIENCE_SECONDS)
    judges = any(is_gpu_queue(queue) for queue in names)
    stores = [Tier(name, FaultyStore(name, world, plan)) for name in ("cpfs", "oss")]
    return Runtime(
        settings=settings,
        ledger=Ledger(client),
        deferred=Deferred(client),
        periods=Periods(client),
        spool=Spool(settings.spool_root, limit_bytes=settings.spool.limit_bytes),
        tiers=Tiers(stores, max_object_bytes=settings.decode.limits.max_bytes) if judges or Queue.IO in names else None,
        judge=judging.open_drill_judge(settings, world, plan) if judges else None,
        open_input=partial(open_or_hang, settings=settings),
        open_output=lambda url: FaultyOutput(open_output(url, settings), world),
        inputs=OpenedOnce(OPEN_SECONDS),
    )


def open_or_hang(url: str, *, settings: Settings, version: InputVersion | None = None) -> InputTable:
    """Open an input; the hanging one never opens."""
    if url == world.hanging:
        threading.Event().wait()
    return open_input(url, settings, version)


def stamp_of_node(batch: str) -> Stamp:
    """Return the stamp that the node's clock gives: that of the second node is ahead."""
    ahead = CLOCK_AHEAD if current().node.name == world.nodes[-1] else timedelta()
    return Stamp(0, (datetime.now(UTC) + ahead).strftime("%Y-%m-%dT%H:%M:%S.%fZ"), batch)


if world.odps_project:
    Stamp.now = stamp_of_node  # type: ignore[method-assign, assignment]  # the host's clock cannot be set
tasks.resources.runtime.opener = open_drill_runtime


def _note(event: str, name: str, args: Any) -> str | None:
    step = step_of(name, args)
    if step is not None:
        if not hasattr(logs, "mine"):  # one for each thread, so that no thread waits for another
            logs.mine = StepLog(world.step_logs)
        logs.mine.note(event, step)
    return step


@worker_ready.connect(weak=False)
def _ready(**_: object) -> None:
    (world.ready / str(os.getpid())).write_text(current().node.name, encoding="ascii")


@task_received.connect(weak=False)
def _received(request: Any, **_: object) -> None:
    (world.taken / str(os.getpid())).touch()
    _note(RECEIVED, request.name, request.args)


@task_prerun.connect(weak=False)
def _begin(task: Any, args: Any, **_: object) -> None:
    judging.task.ordinal = ordinal_of(_note(BEGIN, task.name, args))


@task_postrun.connect(weak=False)
def _end(task: Any, args: Any, **_: object) -> None:
    _note(END, task.name, args)
