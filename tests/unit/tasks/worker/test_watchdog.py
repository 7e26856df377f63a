from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from celery.worker import state

from tasks.worker.config import WorkerConfig
from tasks.worker.requests import Stopwatch
from tasks.worker.watchdog import RunKey, overdue

CONFIG = WorkerConfig(visibility_timeout_seconds=8.0, hard_deadline_seconds=lambda _name: 0.0)


@dataclass(eq=False)
class Running:
    """What the watchdog reads of Celery's request."""

    id: str
    time_start: float
    type: str = "tasks.infer"


@pytest.fixture
def running() -> Iterator[Running]:
    requests: Any = state.requests
    requests["it"] = request = Running("first", 1.0)
    yield request
    del requests["it"]


def ages(stopwatch: Stopwatch[RunKey]) -> list[float]:
    return sorted(stopwatch._first_seen.values())


def test_short_tasks_whose_requests_lie_at_one_address_are_no_task_that_never_ends(running: Running) -> None:
    stopwatch: Stopwatch[RunKey] = Stopwatch()
    overdue(CONFIG, stopwatch)
    (first_seen,) = ages(stopwatch)
    overdue(CONFIG, stopwatch)
    assert ages(stopwatch) == [first_seen]

    running.id, running.time_start = "second", 2.0  # the address is the first one's
    overdue(CONFIG, stopwatch)
    assert ages(stopwatch) > [first_seen]


def test_a_task_that_was_given_back_and_taken_again_begins_anew(running: Running) -> None:
    stopwatch: Stopwatch[RunKey] = Stopwatch()
    overdue(CONFIG, stopwatch)
    before = ages(stopwatch)
    running.time_start = 2.0
    overdue(CONFIG, stopwatch)
    assert ages(stopwatch) > before


def test_a_task_past_its_deadline_is_named(running: Running) -> None:
    assert overdue(CONFIG, Stopwatch()) == "task tasks.infer[first] runs past its hard deadline of 0 s"
