"""A worker that silently stopped consuming is replaced; one that has a reason to be quiet is not."""

from __future__ import annotations

import time
from collections.abc import Callable

from tasks.telemetry.pulse import Pulse
from tasks.worker.stall import StallClock
from tests.fleet.processes import Fleet

STALL_SECONDS = 2.0


def test_a_deaf_worker_ends_itself_while_busy_gated_and_idle_ones_live_on(make_fleet: Callable[..., Fleet]) -> None:
    fleet = make_fleet()
    (fleet.directory / "closed").touch()
    deaf = fleet.start_worker("deaf", app="deaf", queues="deaf", stall_seconds=STALL_SECONDS)
    busy = fleet.start_worker("busy", queues="busy", concurrency=1, stall_seconds=STALL_SECONDS)
    gated = fleet.start_worker("gated", queues="gated", gated_queues=["gated"], stall_seconds=STALL_SECONDS)
    idle = fleet.start_worker("idle", queues="idle", stall_seconds=STALL_SECONDS)
    for worker in fleet.workers:
        worker.wait_until_ready()
    fleet.send("nap", "long", 600.0, queue="busy")
    fleet.wait_for_events(event="start", name="long")
    time.sleep(1.5)  # now it is deaf
    for queue in ("deaf", "busy", "gated"):
        fleet.send("nap", "unheard", 0.0, queue=queue)

    assert deaf.wait_for_exit() == 70
    assert "stalled: 1 waiting in deaf" in deaf.log()
    assert fleet.waiting("deaf") == 1
    time.sleep(2 * STALL_SECONDS)
    assert [worker.name for worker in (busy, gated, idle) if worker.process.poll() is not None] == []


def test_a_stall_lasts_only_while_messages_wait_and_the_gate_is_open() -> None:
    pulse = Pulse()
    clock = StallClock(pulse)
    time.sleep(0.05)
    assert clock.seconds(has_waiting=True) >= 0.05
    assert clock.seconds(has_waiting=False) < 0.05

    time.sleep(0.05)
    pulse.is_gate_open = False
    assert clock.seconds(has_waiting=True) < 0.05

    pulse.is_gate_open = True
    time.sleep(0.05)
    pulse.received_at = time.monotonic()
    assert clock.seconds(has_waiting=True) < 0.05


def test_time_without_a_broker_is_no_stall() -> None:
    clock = StallClock(Pulse())
    time.sleep(0.05)
    clock.restart()  # the broker did not answer: nobody knows what waited
    assert clock.seconds(has_waiting=True) < 0.05
