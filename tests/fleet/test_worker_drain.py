"""Stop signals: the first drains the worker, the second ends it at once; neither loses a message."""

from __future__ import annotations

import signal
from collections.abc import Callable

from tests.fleet.processes import Fleet, wait_until

VISIBILITY_SECONDS = 2.0
HOUR = 3600.0


def test_a_drain_finishes_running_tasks_returns_waiting_ones_and_renews_their_delivery_times(
    make_fleet: Callable[..., Fleet],
) -> None:
    fleet = make_fleet(visibility_timeout_seconds=VISIBILITY_SECONDS)
    leaving = fleet.start_worker("leaving", prefetch_multiplier=2)
    for name in ("short", "long"):
        fleet.send("hold", name)
    for name in ("prefetched", "too"):
        fleet.send("nap", name, 0.0)
    fleet.wait_for_events(count=2, event="start", worker="leaving")
    wait_until(lambda: fleet.unacked() == 4, "two tasks run, two are prefetched")
    fleet.start_worker("staying").wait_until_ready()

    leaving.send(signal.SIGTERM)
    fleet.wait_for_events(event="cancelled", worker="leaving")
    fleet.wait_for_renewals()
    fleet.release("short")
    fleet.wait_for_events(event="end", name="short")
    fleet.release("long")
    assert leaving.wait_for_exit() == 0
    assert fleet.events(event="close", worker="leaving")[0]["threads"] == 0

    wait_until(lambda: len(fleet.events(event="end")) == 4, "all four")
    wait_until(lambda: fleet.unacked() == 0, "all acknowledged")
    for name, worker in (("short", "leaving"), ("long", "leaving"), ("prefetched", "staying"), ("too", "staying")):
        assert [event["worker"] for event in fleet.events(event="start", name=name)] == [worker]


def test_a_second_stop_signal_ends_the_worker_and_returns_running_tasks(make_fleet: Callable[..., Fleet]) -> None:
    fleet = make_fleet(visibility_timeout_seconds=HOUR)
    leaving = fleet.start_worker("leaving", prefetch_multiplier=2)
    fleet.send("hang_once", "running")
    fleet.send("hold", "done")
    fleet.wait_for_events(count=2, event="start")
    fleet.send("nap", "prefetched", 0.0)
    wait_until(lambda: fleet.unacked() == 3, "one task is prefetched")
    leaving.send(signal.SIGTERM)
    fleet.wait_for_events(event="cancelled", worker="leaving")
    fleet.release("done")
    fleet.wait_for_events(event="end", name="done")
    leaving.stop_at_once()

    assert leaving.wait_for_exit(30.0) == 0
    assert fleet.unacked() == 0
    heir = fleet.start_worker("heir")
    fleet.wait_for_events(event="end", name="running", worker="heir")
    fleet.wait_for_events(event="end", name="prefetched", worker="heir")
    assert len(fleet.events(event="start", name="done")) == 1  # its queued acknowledgement was sent before the end
    assert "asks to stop at once" in leaving.log()
    assert "Traceback" not in leaving.log() + heir.log()


def test_two_stop_signals_within_a_second_are_one_request_to_drain(fleet: Fleet) -> None:
    worker = fleet.start_worker("worker")
    fleet.send("hold", "running")
    fleet.wait_for_events(event="start")
    worker.send(signal.SIGINT)
    worker.send(signal.SIGTERM)
    worker.wait_for("Warm shutdown")
    fleet.release("running")

    assert worker.wait_for_exit() == 0
    assert len(fleet.events(event="end", name="running")) == 1
    assert fleet.unacked() == 0


def test_sigquit_ends_the_worker_at_once(make_fleet: Callable[..., Fleet]) -> None:
    fleet = make_fleet(visibility_timeout_seconds=HOUR)
    worker = fleet.start_worker("worker")
    fleet.send("nap", "running", 600.0)
    fleet.wait_for_events(event="start")
    worker.send(signal.SIGQUIT)

    assert worker.wait_for_exit(30.0) == 0
    assert (fleet.waiting(), fleet.unacked()) == (1, 0)
