from __future__ import annotations

import logging
import threading
import time
from pathlib import Path

import pytest
import redis

from storage.ledger import Ledger, WorkerReports
from tasks.settings import Settings
from tasks.telemetry.pulse import Pulse, WorkerPhase
from tasks.worker.liveness.health import (
    LOOP_LIMIT_SECONDS,
    REPORTS_PER_SILENCE,
    is_live,
    start_presence_reports,
    start_state_reports,
)
from tests.fleet.processes import wait_until
from tests.valkey import ValkeyServer, valkey_server

THREAD = "tamis-presence"


def settings(tmp_path: Path) -> Settings:
    return Settings.of(state_dir=tmp_path, node="n1", node_silence_seconds=0.02 * REPORTS_PER_SILENCE)


def reports(client: redis.Redis) -> dict[bytes, float]:
    return dict(client.zrange("tamis:nodes", 0, -1, withscores=True))


def end(stopped: threading.Event) -> None:
    """Wait until the thread has ended: a report on a closed connection would end this process."""
    stopped.set()
    for thread in threading.enumerate():
        if thread.name == THREAD:
            thread.join(60)
            assert not thread.is_alive()


def test_a_worker_reports_its_queues_repeatedly(tmp_path: Path, client: redis.Redis) -> None:
    ledger = Ledger(client)
    stopped = start_presence_reports(ledger, settings(tmp_path), ["gpu", "gpu.n1"], worker="w")
    try:
        first = reports(client)
        assert first.keys() == {b"gpu n1", b"gpu.n1 n1"}
        wait_until(lambda: all(reports(client)[role] > first[role] for role in first), "another report of each role")
    finally:
        end(stopped)
    (node,) = ledger.heartbeats.nodes(60)
    assert (node.name, node.roles) == ("n1", {"gpu", "gpu.n1"})
    assert ledger.heartbeats.living_workers(60) == {"w"}


def test_a_worker_that_serves_no_queue_still_reports_itself(tmp_path: Path, client: redis.Redis) -> None:
    ledger = Ledger(client)
    end(start_presence_reports(ledger, settings(tmp_path), ["io"], worker="w", is_serving=lambda: False))
    assert ledger.heartbeats.nodes(60) == []
    assert ledger.heartbeats.living_workers(60) == {"w"}


def test_an_unreachable_ledger_is_logged_and_reports_go_on(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with valkey_server() as server, caplog.at_level(logging.WARNING, "tasks.worker.liveness.health"):
        client = redis.Redis(port=server.port, retry=None)
        stopped = start_presence_reports(Ledger(client), settings(tmp_path), ["io"], worker="w")
        try:
            server.kill()
            wait_until(lambda: "could not report to the ledger" in caplog.text, "a line in the log")
            server.start()
            wait_until(lambda: has_report(server), "a report after the restart")
        finally:
            end(stopped)
            client.close()


def has_report(server: ValkeyServer) -> bool:
    client = server.client()
    try:
        return bool(reports(client))
    finally:
        client.close()


def test_a_state_is_reported_only_while_the_worker_is_in_it(client: redis.Redis) -> None:
    reports = WorkerReports(client)
    start_state_reports(reports, "io@n1", "drained", ["io"], is_in_state=lambda: False).set()
    assert reports.all() == []
    start_state_reports(reports, "io@n1", "drained", ["io"], is_in_state=lambda: True).set()
    (found,) = reports.all()
    assert (found.name, found.state, found.queues) == ("io@n1", "drained", {"io"})


def test_a_state_that_cannot_be_reported_does_not_stop_the_worker() -> None:
    unreachable = WorkerReports(redis.Redis(port=1, retry=None))
    start_state_reports(unreachable, "io@n1", "warming", ["io"], is_in_state=lambda: True).set()


def test_a_worker_whose_event_loop_hangs_is_not_live() -> None:
    pulse = Pulse(phase=WorkerPhase.CONSUMING)
    assert is_live(pulse)
    pulse.looped_at = time.monotonic() - LOOP_LIMIT_SECONDS - 1.0
    assert not is_live(pulse)


def test_without_a_connection_and_during_a_drain_a_worker_is_live_without_an_event_loop() -> None:
    long_ago = time.monotonic() - LOOP_LIMIT_SECONDS - 1.0
    assert is_live(Pulse(phase=WorkerPhase.CONNECTING, looped_at=long_ago))
    assert is_live(Pulse(phase=WorkerPhase.DRAINING, looped_at=long_ago))
