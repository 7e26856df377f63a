"""Back-pressure: a worker without room stops asking for messages, and neither blocks nor drops any."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from tests.fleet.processes import Fleet, WorkerProcess, wait_until


def _gated(fleet: Fleet, name: str = "gated") -> tuple[WorkerProcess, Path]:
    return fleet.start_worker(name, gated_queues=["work"]), fleet.directory / "closed"


def test_a_closed_gate_leaves_messages_to_others_and_opens_by_itself(fleet: Fleet) -> None:
    closed = fleet.directory / "closed"
    closed.touch()
    worker, _ = _gated(fleet)
    worker.wait_until_ready()
    for number in range(5):
        fleet.send("nap", f"row-{number}", 0.0)

    assert fleet.ping(worker)
    assert fleet.waiting() == 5
    assert fleet.events(event="start") == []

    closed.unlink()
    fleet.wait_for_events(count=5, event="end")
    assert worker.log().count("no room: consuming stops") == 1
    assert worker.log().count("there is room again") == 1


def test_a_message_already_popped_when_the_gate_closes_is_run(fleet: Fleet) -> None:
    worker, closed = _gated(fleet)
    worker.wait_until_ready()
    for number in range(6):  # each time, the BRPOP that was sent before the gate closed gets the message
        closed.touch()
        worker.wait_for(rf"(?s)(no room.*){{{number + 1}}}")
        fleet.send("nap", f"row-{number}", 0.0)
        wait_until(partial(_is_accounted_for, fleet, f"row-{number}"), "run, or still in Redis")
        closed.unlink()
        fleet.wait_for_events(event="end", name=f"row-{number}")
        worker.wait_for(rf"(?s)(room again.*){{{number + 1}}}")


def _is_accounted_for(fleet: Fleet, name: str) -> bool:
    return bool(fleet.events(event="end", name=name)) or fleet.waiting() == 1


def test_a_worker_of_gated_and_other_queues_is_refused(fleet: Fleet) -> None:
    worker = fleet.start_worker("mixed", queues="work,gpu", gated_queues=["work"])

    assert worker.wait_for_exit() != 0
    assert "start one worker process for each group" in worker.log()
