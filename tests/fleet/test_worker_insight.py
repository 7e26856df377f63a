"""A worker's HTTP port, and the remote-control commands drain, resume and reload."""

from __future__ import annotations

import socket

import pytest

from tasks.telemetry.metrics import waits
from tests.fleet.processes import Fleet, WorkerProcess, wait_until
from tests.http_get import get
from tests.valkey import free_port


@pytest.fixture(params=["redis", "rabbitmq"])
def either_fleet(request: pytest.FixtureRequest) -> Fleet:
    return request.getfixturevalue("fleet" if request.param == "redis" else "rabbit_fleet")


def command(fleet: Fleet, worker: WorkerProcess, name: str) -> None:
    replies = fleet.app.control.broadcast(
        name, reply=True, timeout=10.0, limit=1, pattern=f"{worker.name}@*", matcher="glob"
    )
    assert replies, f"{worker.name} did not answer {name}"
    assert all("ok" in reply for one in replies for reply in one.values())


def test_a_worker_is_live_from_its_start_and_ready_once_it_is_warm_and_consumes(fleet: Fleet) -> None:
    port = free_port()
    fleet.start_worker("worker", warmup_seconds=3.0, metrics_port=port)
    wait_until(lambda: get(f"http://127.0.0.1:{port}/livez")[0], "the port")
    assert get(f"http://127.0.0.1:{port}/livez")[0] == 200
    assert get(f"http://127.0.0.1:{port}/readyz") == (503, "starting\n")
    wait_until(lambda: get(f"http://127.0.0.1:{port}/readyz") == (200, "consuming\n"), "readiness")
    assert get(f"http://127.0.0.1:{port}/")[0] == 404


def test_a_scrape_has_the_waits_of_messages_and_the_phase_of_the_process(fleet: Fleet) -> None:
    port = free_port()
    waits.install()
    fleet.send("nap", "task", 0.0)
    fleet.start_worker("worker", metrics_port=port)
    fleet.wait_for_events(event="end")
    status, text = get(f"http://127.0.0.1:{port}/metrics")
    assert status == 200
    assert 'tamis_queue_wait_seconds_count{task="nap"} 1.0' in text
    assert 'tamis_worker_phase{phase="consuming"} 1.0' in text
    assert "process_resident_memory_bytes" in text


def test_a_worker_whose_port_is_in_use_works_without_metrics(fleet: Fleet) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        worker = fleet.start_worker("worker", metrics_port=taken.getsockname()[1])
        worker.wait_for("no metrics on 127.0.0.1")
        fleet.send("nap", "task", 0.0)
        fleet.wait_for_events(event="end")


def test_a_drained_worker_finishes_its_tasks_takes_no_messages_and_can_be_resumed(either_fleet: Fleet) -> None:
    fleet, port = either_fleet, free_port()
    worker = fleet.start_worker("worker", metrics_port=port, stall_seconds=1.0)
    deaf = fleet.start_worker("deaf", app="deaf", queues="other", stall_seconds=2.5)
    fleet.send("hold", "running")
    fleet.wait_for_events(event="start", name="running")
    fleet.wait_for_events(event="deaf")

    command(fleet, worker, "drain")
    assert get(f"http://127.0.0.1:{port}/readyz")[0] == 503
    fleet.release("running")
    fleet.wait_for_events(event="end", name="running")
    fleet.send("nap", "one that the last poll may still bring", 0.0)
    fleet.send("nap", "later", 0.0)
    wait_until(lambda: fleet.waiting() >= 1, "a message that waits")
    fleet.send("nap", "unheard", 0.0, queue="other")
    assert deaf.wait_for_exit() == 70  # it stalled, and the drained worker has been quiet for longer
    assert fleet.events(event="start", name="later") == []
    assert get(f"http://127.0.0.1:{port}/livez")[0] == 200

    command(fleet, worker, "resume")
    fleet.wait_for_events(event="end", name="later")
    assert get(f"http://127.0.0.1:{port}/readyz")[0] == 200


def test_a_reload_finishes_running_tasks_and_ends_the_process(fleet: Fleet) -> None:
    worker = fleet.start_worker("worker")
    fleet.send("hold", "running")
    fleet.wait_for_events(event="start", name="running")
    command(fleet, worker, "reload")
    fleet.release("running")
    assert worker.wait_for_exit() == 0
    assert fleet.events(event="end", name="running")
