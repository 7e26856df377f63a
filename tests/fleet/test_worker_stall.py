"""A worker that stopped consuming is ended; a worker that has a reason not to consume is not."""

from __future__ import annotations

from collections.abc import Callable

from tests.fleet.processes import Fleet

LONG_STALL_SECONDS, SHORT_STALL_SECONDS = 2.5, 1.0


def test_a_deaf_worker_ends_itself_while_busy_gated_and_idle_ones_stay(make_fleet: Callable[..., Fleet]) -> None:
    fleet = make_fleet()
    (fleet.directory / "closed").touch()
    deaf = fleet.start_worker("deaf", app="deaf", queues="deaf", stall_seconds=LONG_STALL_SECONDS)
    busy = fleet.start_worker("busy", queues="busy", concurrency=1, stall_seconds=SHORT_STALL_SECONDS)
    gated = fleet.start_worker("gated", queues="gated", gated_queues=["gated"], stall_seconds=SHORT_STALL_SECONDS)
    idle = fleet.start_worker("idle", queues="idle", stall_seconds=SHORT_STALL_SECONDS)
    for worker in fleet.workers:
        worker.wait_until_ready()
    fleet.send("hold", "long", queue="busy")
    fleet.wait_for_events(event="start", name="long")
    fleet.wait_for_events(event="deaf")
    for queue in ("busy", "gated", "deaf"):  # the last one last: when it ends, the others were quiet for longer
        fleet.send("nap", "unheard", 0.0, queue=queue)

    assert deaf.wait_for_exit() == 70
    assert "stalled: 1 waiting in deaf" in deaf.log()
    assert fleet.waiting("deaf") == 1
    assert [worker.name for worker in (busy, gated, idle) if worker.process.poll() is not None] == []
