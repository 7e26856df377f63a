from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from celery.worker import state

from tasks.worker.config import WorkerConfig
from tasks.worker.liveness.watchdog import RunKey, overdue
from tasks.worker.requests import Stopwatch
from tests.unit.tasks.worker.clock import ManualClock

CONFIG = WorkerConfig(visibility_timeout_seconds=8.0, hard_deadline_seconds=5.0)


@dataclass(eq=False)
class RunningRequest:
    """The fields of Celery's request that the watchdog reads."""

    id: str
    time_start: float
    type: str = "tasks.infer"


@pytest.fixture
def running() -> Iterator[RunningRequest]:
    requests: Any = state.requests
    requests["it"] = request = RunningRequest("first", 1.0)
    yield request
    del requests["it"]


def test_short_tasks_one_after_another_at_one_address_do_not_count_as_one_long_task(running: RunningRequest) -> None:
    clock = ManualClock()
    stopwatch: Stopwatch[RunKey] = Stopwatch(clock)
    assert overdue(CONFIG, stopwatch) is None
    clock.seconds += 4.0
    running.id, running.time_start = "second", 2.0  # the same object: Celery reuses addresses
    assert overdue(CONFIG, stopwatch) is None
    clock.seconds += 4.0
    assert overdue(CONFIG, stopwatch) is None


def test_a_task_that_was_returned_and_delivered_again_gets_its_whole_time(running: RunningRequest) -> None:
    clock = ManualClock()
    stopwatch: Stopwatch[RunKey] = Stopwatch(clock)
    overdue(CONFIG, stopwatch)
    clock.seconds += 4.0
    running.time_start = 2.0
    overdue(CONFIG, stopwatch)
    clock.seconds += 4.0
    assert overdue(CONFIG, stopwatch) is None


def test_a_task_past_its_deadline_is_named(running: RunningRequest) -> None:
    clock = ManualClock()
    stopwatch: Stopwatch[RunKey] = Stopwatch(clock)
    assert overdue(CONFIG, stopwatch) is None
    clock.seconds += 5.0
    assert overdue(CONFIG, stopwatch) == "task tasks.infer[first] runs past its hard deadline of 5 s"
