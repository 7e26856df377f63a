"""A hung task ends its process, and everything that process held runs elsewhere."""

from __future__ import annotations

import signal
from collections.abc import Callable

from tests.fleet.processes import Fleet

HOUR = 3600.0


def test_a_task_hung_in_c_code_ends_the_process_and_runs_elsewhere_with_its_neighbour(
    make_fleet: Callable[..., Fleet],
) -> None:
    fleet = make_fleet(visibility_timeout_seconds=HOUR)  # so what comes back was handed back
    hung = fleet.start_worker("hung", deadline_seconds=3.0)
    fleet.send("hang_once", "culprit")
    fleet.wait_for_events(event="start", name="culprit")
    fleet.send("nap", "neighbour", 20.0)
    fleet.wait_for_events(event="start", name="neighbour")
    fleet.start_worker("heir")

    assert hung.wait_for_exit() == 70
    assert "runs past its hard deadline of 3 s" in hung.log()
    assert "most recent call first" in hung.log()
    fleet.wait_for_events(event="end", name="culprit", worker="heir")
    fleet.wait_for_events(event="start", name="neighbour", worker="heir")


def test_a_task_that_hangs_with_the_interpreter_lock_ends_the_process_too(make_fleet: Callable[..., Fleet]) -> None:
    fleet = make_fleet(visibility_timeout_seconds=3.0)
    frozen = fleet.start_worker("frozen", frozen_seconds=2.0)
    fleet.send("hang_once", "culprit", options={"holds_gil": True})
    fleet.wait_for_events(event="start", name="culprit")
    fleet.start_worker("heir")

    assert frozen.wait_for_exit() == 1
    assert "most recent call first" in frozen.log()
    fleet.wait_for_events(event="end", name="culprit", worker="heir")


def test_a_task_that_hangs_during_a_drain_cannot_block_it_for_ever(make_fleet: Callable[..., Fleet]) -> None:
    fleet = make_fleet(visibility_timeout_seconds=HOUR)
    hung = fleet.start_worker("hung", deadline_seconds=2.0)
    fleet.send("hang_once", "culprit")
    fleet.wait_for_events(event="start", name="culprit")
    hung.send(signal.SIGTERM)
    fleet.start_worker("heir")

    assert hung.wait_for_exit() == 70
    fleet.wait_for_events(event="end", name="culprit", worker="heir")
