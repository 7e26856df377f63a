"""A worker with all our bootsteps and a few tasks that take time. The JSON in ``FLEET_TEST`` configures it."""

from __future__ import annotations

import ctypes
import json
import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import celery.concurrency.thread
from celery import Celery, Task

from tasks.telemetry.metrics import waits
from tasks.telemetry.metrics.process import ProcessCollector
from tasks.worker import WorkerConfig, insight, install, intake
from tasks.worker.config import wiring_of
from tests.fleet.brokers import broker_settings
from tests.fleet.processes import wait_until

__all__ = ["app", "insight", "intake"]  # the last two are imported for their remote-control commands

GIVEN = json.loads(os.environ["FLEET_TEST"])

app = Celery("standard", amqp="tasks.broker.rabbitmq:QuorumAmqp", set_as_current=False)
app.conf.update(
    broker_settings(GIVEN["broker_url"], GIVEN["visibility_timeout_seconds"], GIVEN["keyprefix"]),
    broker_connection_retry_on_startup=True,
    task_acks_late=True,
    task_ignore_result=True,
    worker_prefetch_multiplier=GIVEN.get("prefetch_multiplier", 1),
    worker_cancel_long_running_tasks_on_connection_loss=False,
    **GIVEN.get("celery", {}),
)


def note(event: str, **fields: object) -> None:
    """Append one event; a single small write to a file opened for appending is atomic."""
    line = json.dumps({"event": event, "pid": os.getpid(), "worker": GIVEN["worker"], "at": time.time(), **fields})
    with Path(GIVEN["events"]).open("a", encoding="utf-8") as events:
        events.write(line + "\n")


class NotingExecutor(ThreadPoolExecutor):
    """Celery's executor, which notes that a stopping pool has cancelled the tasks that had not begun."""

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        super().shutdown(wait=False, cancel_futures=cancel_futures)
        note("cancelled")
        super().shutdown(wait=wait)


celery.concurrency.thread.ThreadPoolExecutor = NotingExecutor  # type: ignore[misc]  # where Celery looks for its executor


@app.task(bind=True, name="nap")
def nap(self: Task, name: str, seconds: float) -> None:  # type: ignore[type-arg]
    """Run for ``seconds``."""
    note("start", name=name, redelivered=bool((self.request.delivery_info or {}).get("redelivered")))
    time.sleep(seconds)
    note("end", name=name)


@app.task(name="hold")
def hold(name: str) -> None:
    """Run until the test releases ``name``."""
    note("start", name=name)
    released = Path(GIVEN["events"]).with_name(f"{name}.released")
    wait_until(released.exists, f"{name} is released", 600.0)
    note("end", name=name)


@app.task(name="hang_once")
def hang_once(name: str, *, holds_gil: bool = False) -> None:
    """Hang in C code at the first run, succeed at the next."""
    marker = Path(GIVEN["events"]).with_name(f"{name}.hung")
    note("start", name=name)
    if not marker.exists():
        marker.touch()
        library = ctypes.PyDLL(None) if holds_gil else ctypes.CDLL(None)
        library.sleep(600)
    note("end", name=name)


def open_runtime(queues: frozenset[str]) -> None:
    """Warm up for ``warmup_seconds``, and fail with ``warmup_fault`` if it is set."""
    note("open", queues=sorted(queues))
    time.sleep(GIVEN.get("warmup_seconds", 0.0))
    if "warmup_fault" in GIVEN:
        raise RuntimeError(GIVEN["warmup_fault"])
    note("opened")


def close_runtime() -> None:
    """Note the number of pool threads that still run: there must be none."""
    note("close", threads=sum("ThreadPoolExecutor" in thread.name for thread in threading.enumerate()))


def config() -> WorkerConfig:
    """Return the worker's configuration."""
    note("configured")
    closed_gate = Path(GIVEN["events"]).with_name("closed")
    health_file = GIVEN.get("health_file")
    return WorkerConfig(
        visibility_timeout_seconds=GIVEN["visibility_timeout_seconds"],
        hard_deadline_seconds=float(GIVEN.get("deadline_seconds", 120.0)),
        open_runtime=open_runtime,
        close_runtime=close_runtime,
        has_room=(lambda: not closed_gate.exists()) if "gated_queues" in GIVEN else None,
        gated_queues=frozenset(GIVEN.get("gated_queues", ())),
        health_file=Path(health_file) if health_file else None,
        stall_seconds=GIVEN.get("stall_seconds", 60.0),
        frozen_seconds=GIVEN.get("frozen_seconds", 60.0),
        metrics_address=("127.0.0.1", GIVEN["metrics_port"]) if "metrics_port" in GIVEN else None,
        collectors=lambda _: [ProcessCollector(lambda: None, wiring_of(app).pulse)],
    )


install(app, config)
waits.install()
