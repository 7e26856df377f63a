"""Lost connections and a restart of the broker: running tasks are finished once."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.fleet.processes import Fleet, WorkerProcess, wait_until
from tests.valkey import ValkeyServer, valkey_server

VISIBILITY_SECONDS = 5.0  # long enough for two renewals to fail


@pytest.fixture
def durable() -> Iterator[ValkeyServer]:
    """A server that keeps its data when it is killed."""
    with valkey_server(appendonly=True) as server:
        yield server


def test_running_tasks_run_once_although_connections_drop_and_the_broker_restarts(
    durable: ValkeyServer, tmp_path: Path
) -> None:
    fleet = Fleet(durable.url, tmp_path, VISIBILITY_SECONDS)
    try:
        worker = fleet.start_worker("worker", concurrency=3)
        for name in ("across-both", "ends-meanwhile"):
            fleet.send("hold", name)
        fleet.wait_for_events(count=2, event="start")
        fleet.start_worker("idle").wait_until_ready()

        _drop_connections(durable)
        _wait_for_reconnects(worker, 1)
        durable.kill()
        fleet.release("ends-meanwhile")
        fleet.wait_for_events(event="end", name="ends-meanwhile")
        durable.start()
        _wait_for_reconnects(worker, 2)
        fleet.wait_for_renewals()
        fleet.release("across-both")

        wait_until(lambda: fleet.unacked() == 0, "both acknowledged on the newest connection")
        assert fleet.waiting() == 0
        assert sorted(str(event["name"]) for event in fleet.events(event="start")) == ["across-both", "ends-meanwhile"]
        for number in range(6):
            fleet.send("nap", f"later-{number}", 0.1)
        wait_until(lambda: len(fleet.events(event="end")) == 8, "the workers consume again")
        assert "Unrecoverable" not in worker.log()
    finally:
        fleet.close()


def _drop_connections(server: ValkeyServer) -> None:
    with closing(server.client()) as client:
        client.client_kill_filter(_type="normal", skipme=True)
        client.client_kill_filter(_type="pubsub", skipme=True)


def _wait_for_reconnects(worker: WorkerProcess, count: int) -> None:
    wait_until(lambda: worker.log().count("Connected to redis") > count, f"{count} reconnects")
