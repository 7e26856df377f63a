"""A hung task ends its process, and the messages of that process run elsewhere."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from tests.fleet.processes import Fleet, WorkerProcess
from tests.valkey import ValkeyServer

HOUR = 3600.0  # as a visibility timeout: messages come back only when the worker returns them


@dataclass
class Hangs:
    """Workers in which a task hangs: the tests below wait at the same time."""

    in_c: tuple[Fleet, WorkerProcess]
    with_lock: tuple[Fleet, WorkerProcess]
    in_drain: tuple[Fleet, WorkerProcess]


@pytest.fixture(scope="module")
def hangs(server: ValkeyServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hangs]:
    """Start three workers, each with a task that hangs."""
    fleets = [
        Fleet(server.url, tmp_path_factory.mktemp(name), visibility_seconds, keyprefix=f"{name}:")
        for name, visibility_seconds in (("in-c", HOUR), ("with-lock", 3.0), ("in-drain", HOUR))
    ]
    in_c, with_lock, in_drain = fleets
    try:
        draining = _hang(in_drain, deadline_seconds=5.0)
        draining.send(signal.SIGTERM)
        frozen = _hang(with_lock, holds_gil=True, frozen_seconds=2.0)
        yield Hangs((in_c, _hang(in_c, deadline_seconds=5.0)), (with_lock, frozen), (in_drain, draining))
    finally:
        for fleet in fleets:
            fleet.close()


def _hang(fleet: Fleet, *, holds_gil: bool = False, **config: Any) -> WorkerProcess:
    worker = fleet.start_worker("hung", **config)
    fleet.send("hang_once", "culprit", options={"holds_gil": holds_gil})
    fleet.wait_for_events(event="start", name="culprit")
    return worker


def test_a_task_that_hangs_in_c_code_ends_its_process_and_runs_elsewhere_with_its_neighbour(hangs: Hangs) -> None:
    fleet, hung = hangs.in_c
    fleet.send("hold", "neighbour")
    fleet.wait_for_events(event="start", name="neighbour", worker="hung")
    fleet.start_worker("heir")

    assert hung.wait_for_exit() == 70
    assert "runs past its hard deadline of 5 s" in hung.log()
    assert "most recent call first" in hung.log()
    fleet.wait_for_events(event="end", name="culprit", worker="heir")
    fleet.wait_for_events(event="start", name="neighbour", worker="heir")


def test_a_task_that_hangs_with_the_interpreter_lock_ends_its_process(hangs: Hangs) -> None:
    fleet, frozen = hangs.with_lock
    fleet.start_worker("heir")

    assert frozen.wait_for_exit() == 1
    assert "most recent call first" in frozen.log()
    fleet.wait_for_events(event="end", name="culprit", worker="heir")


def test_a_task_that_hangs_during_a_drain_ends_its_process(hangs: Hangs) -> None:
    fleet, hung = hangs.in_drain
    fleet.start_worker("heir")

    assert hung.wait_for_exit() == 70
    fleet.wait_for_events(event="end", name="culprit", worker="heir")
