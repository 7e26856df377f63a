"""A worker with all our bootsteps and a few tasks that take time. Told everything by the JSON in ``FLEET_TEST``."""

from __future__ import annotations

import ctypes
import json
import os
import threading
import time
from pathlib import Path

from celery import Celery, Task

from tasks.telemetry.metrics import waits
from tasks.telemetry.metrics.process import ProcessCollector
from tasks.worker import WorkerConfig, insight, install, intake
from tasks.worker.config import wiring_of
from tests.fleet.brokers import broker_settings

__all__ = ["app", "insight", "intake"]  # the last two by being imported: they are remote-control commands

TOLD = json.loads(os.environ["FLEET_TEST"])

app = Celery("standard", amqp="tasks.broker.rabbitmq:QuorumAmqp", set_as_current=False)
app.conf.update(
    broker_settings(TOLD["broker_url"], TOLD["visibility_timeout_seconds"], TOLD["keyprefix"]),
    broker_connection_retry_on_startup=True,
    task_acks_late=True,
    task_ignore_result=True,
    worker_prefetch_multiplier=TOLD.get("prefetch_multiplier", 1),
    worker_cancel_long_running_tasks_on_connection_loss=False,
    **TOLD.get("celery", {}),
)


def note(event: str, **fields: object) -> None:
    """Append one event; a single small write to a file opened for appending is atomic."""
    line = json.dumps({"event": event, "pid": os.getpid(), "worker": TOLD["worker"], "at": time.time(), **fields})
    with Path(TOLD["events"]).open("a", encoding="utf-8") as events:
        events.write(line + "\n")


@app.task(bind=True, name="nap")
def nap(self: Task, name: str, seconds: float) -> None:  # type: ignore[type-arg]
    """Sleep."""
    note("start", name=name, redelivered=bool((self.request.delivery_info or {}).get("redelivered")))
    time.sleep(seconds)
    note("end", name=name)


@app.task(name="hold")
def hold(name: str) -> None:
    """Run until the test lets go."""
    note("start", name=name)
    while not Path(TOLD["events"]).with_name(f"{name}.released").exists():
        time.sleep(0.02)
    note("end", name=name)


@app.task(name="hang_once")
def hang_once(name: str, *, holds_gil: bool = False) -> None:
    """Hang in C code the first time, succeed the next: a lost neighbour is not its fault."""
    marker = Path(TOLD["events"]).with_name(f"{name}.hung")
    note("start", name=name)
    if not marker.exists():
        marker.touch()
        library = ctypes.PyDLL(None) if holds_gil else ctypes.CDLL(None)
        library.sleep(600)
    note("end", name=name)


def open_runtime(queues: frozenset[str]) -> None:
    """Take as long to warm up as told, and fail if told to."""
    note("open", queues=sorted(queues))
    time.sleep(TOLD.get("warmup_seconds", 0.0))
    if "warmup_fault" in TOLD:
        raise RuntimeError(TOLD["warmup_fault"])
    note("opened")


def close_runtime() -> None:
    """Note how many tasks of this process are still running: there must be none."""
    note("close", threads=sum("ThreadPoolExecutor" in thread.name for thread in threading.enumerate()))


def config() -> WorkerConfig:
    """Return the configuration under test."""
    note("configured")
    closed_gate = Path(TOLD["events"]).with_name("closed")
    health_file = TOLD.get("health_file")
    return WorkerConfig(
        visibility_timeout_seconds=TOLD["visibility_timeout_seconds"],
        hard_deadline_seconds=float(TOLD.get("deadline_seconds", 120.0)),
        open_runtime=open_runtime,
        close_runtime=close_runtime,
        has_room=(lambda: not closed_gate.exists()) if "gated_queues" in TOLD else None,
        gated_queues=frozenset(TOLD.get("gated_queues", ())),
        health_file=Path(health_file) if health_file else None,
        stall_seconds=TOLD.get("stall_seconds", 60.0),
        frozen_seconds=TOLD.get("frozen_seconds", 60.0),
        metrics_address=("127.0.0.1", TOLD["metrics_port"]) if "metrics_port" in TOLD else None,
        collectors=lambda _: [ProcessCollector(lambda: None, wiring_of(app).pulse)],
    )


install(app, config)
waits.install()
