"""What stop signals do: the first drains, the second leaves at once; neither loses anything."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable

from tests.fleet.processes import Fleet, wait_until

VISIBILITY_SECONDS = 3.0
HOUR = 3600.0


def test_a_drain_finishes_what_runs_gives_back_what_waits_and_keeps_its_leases(
    make_fleet: Callable[..., Fleet],
) -> None:
    fleet = make_fleet(visibility_timeout_seconds=VISIBILITY_SECONDS)
    leaving = fleet.start_worker("leaving", prefetch_multiplier=2)
    fleet.send("hold", "short")
    for name, seconds in (("long", 3 * VISIBILITY_SECONDS), ("prefetched", 0.0), ("too", 0.0)):
        fleet.send("nap", name, seconds)
    fleet.wait_for_events(count=2, event="start", worker="leaving")
    wait_until(lambda: fleet.unacked() == 4, "two tasks run, two are prefetched")
    fleet.start_worker("staying").wait_until_ready()

    leaving.send(signal.SIGTERM)
    leaving.wait_for("Warm shutdown")
    time.sleep(2.0)  # by then it has let go of what it had not begun
    fleet.release("short")

    assert leaving.wait_for_exit() == 0
    wait_until(lambda: len(fleet.events(event="end")) == 4, "all four")
    wait_until(lambda: fleet.unacked() == 0, "all acknowledged")
    assert [event["worker"] for event in fleet.events(event="start", name="short")] == ["leaving"]
    assert [event["worker"] for event in fleet.events(event="start", name="long")] == ["leaving"]
    assert [event["worker"] for event in fleet.events(event="end", name="prefetched")] == ["staying"]
    assert fleet.events(event="close", worker="leaving")[0]["threads"] == 0


def test_a_second_stop_signal_leaves_within_seconds_and_running_tasks_go_back(make_fleet: Callable[..., Fleet]) -> None:
    fleet = make_fleet(visibility_timeout_seconds=HOUR)
    leaving = fleet.start_worker("leaving", prefetch_multiplier=2)
    fleet.send("hang_once", "running")
    fleet.send("nap", "done", 1.5)
    fleet.wait_for_events(count=2, event="start")
    fleet.send("nap", "prefetched", 0.0)
    leaving.send(signal.SIGTERM)
    fleet.wait_for_events(event="end", name="done")
    time.sleep(1.5)  # sooner, it would count as the same request
    leaving.send(signal.SIGTERM)

    assert leaving.wait_for_exit(30.0) == 0
    assert fleet.unacked() == 0
    heir = fleet.start_worker("heir")
    fleet.wait_for_events(event="end", name="running", worker="heir")
    fleet.wait_for_events(event="end", name="prefetched", worker="heir")
    assert len(fleet.events(event="start", name="done")) == 1  # its queued acknowledgement was sent before leaving
    assert "asks to stop at once" in leaving.log()
    assert "Traceback" not in leaving.log() + heir.log()


def test_a_terminals_and_a_supervisors_signal_together_are_one_request_to_drain(fleet: Fleet) -> None:
    worker = fleet.start_worker("worker")
    fleet.send("nap", "running", 3.0)
    fleet.wait_for_events(event="start")
    worker.send(signal.SIGINT)
    worker.send(signal.SIGTERM)

    assert worker.wait_for_exit() == 0
    assert len(fleet.events(event="end", name="running")) == 1
    assert fleet.unacked() == 0


def test_sigquit_leaves_at_once(make_fleet: Callable[..., Fleet]) -> None:
    fleet = make_fleet(visibility_timeout_seconds=HOUR)
    worker = fleet.start_worker("worker")
    fleet.send("nap", "running", 600.0)
    fleet.wait_for_events(event="start")
    worker.send(signal.SIGQUIT)

    assert worker.wait_for_exit(30.0) == 0
    assert (fleet.waiting(), fleet.unacked()) == (1, 0)
