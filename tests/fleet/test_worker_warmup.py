"""Warm-up: the runtime is opened before the first message and closed after the last."""

from __future__ import annotations

import signal

from tests.fleet.processes import Fleet


def _story(fleet: Fleet, worker: str) -> list[object]:
    return [event["event"] for event in fleet.events(worker=worker)]


def test_the_runtime_is_open_before_the_first_message_and_closed_after_the_last(fleet: Fleet) -> None:
    fleet.send("nap", "early", 0.2)
    worker = fleet.start_worker("worker", queues="work,more", warmup_seconds=1.0)
    fleet.wait_for_events(event="end", name="early")
    worker.send(signal.SIGTERM)

    assert worker.wait_for_exit() == 0
    assert _story(fleet, "worker") == ["configured", "open", "opened", "start", "end", "cancelled", "close"]
    assert fleet.events(event="open")[0]["queues"] == ["more", "work"]
    assert "warm after 1." in worker.log()


def test_a_failed_warm_up_ends_the_process_with_its_reason_and_takes_no_message(fleet: Fleet) -> None:
    fleet.send("nap", "early", 0.0)
    worker = fleet.start_worker("worker", warmup_fault="no GPU with 24 GiB")

    assert worker.wait_for_exit() == 1
    assert _story(fleet, "worker") == ["configured", "open", "close"]
    assert sum("no GPU with 24 GiB" in line for line in worker.log().splitlines()) == 1
    assert fleet.waiting() == 1


def test_a_stop_signal_during_the_warm_up_ends_the_process_at_once(fleet: Fleet) -> None:
    fleet.send("nap", "early", 0.0)
    worker = fleet.start_worker("worker", warmup_seconds=600.0)
    fleet.wait_for_events(event="open")
    worker.send(signal.SIGTERM)

    assert worker.wait_for_exit() == 0
    assert _story(fleet, "worker") == ["configured", "open", "close"]
    assert fleet.waiting() == 1
