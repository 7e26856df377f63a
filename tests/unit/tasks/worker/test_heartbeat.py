from __future__ import annotations

import logging
import threading
from pathlib import Path

import pytest
import redis

from storage.ledger import Ledger
from tasks.settings import Settings
from tasks.worker.heartbeat import BEATS_PER_SILENCE, start_heartbeat
from tests.fleet.processes import wait_until
from tests.valkey import ValkeyServer, valkey_server

THREAD = "tamis-node"


def settings(tmp_path: Path) -> Settings:
    return Settings.of(state_dir=tmp_path, node="n1", node_silence_seconds=0.02 * BEATS_PER_SILENCE)


def beats(client: redis.Redis) -> dict[bytes, float]:
    return dict(client.zrange("tamis:nodes", 0, -1, withscores=True))


def end(stopped: threading.Event) -> None:
    """Wait for the thread's last beat: one that finds its connection closed under it would end this process."""
    stopped.set()
    for thread in threading.enumerate():
        if thread.name == THREAD:
            thread.join(60)
            assert not thread.is_alive()


def test_a_worker_says_again_and_again_which_queues_it_serves(tmp_path: Path, client: redis.Redis) -> None:
    ledger = Ledger(client)
    stopped = start_heartbeat(ledger, settings(tmp_path), ["gpu", "gpu.n1"], worker="w")
    try:
        first = beats(client)
        assert first.keys() == {b"gpu n1", b"gpu.n1 n1"}
        wait_until(lambda: all(beats(client)[role] > first[role] for role in first), "another beat of each role")
    finally:
        end(stopped)
    (node,) = ledger.nodes(60)
    assert (node.name, node.roles) == ("n1", {"gpu", "gpu.n1"})
    assert ledger.living_workers(60) == {"w"}


def test_a_worker_that_serves_nothing_any_more_still_lives(tmp_path: Path, client: redis.Redis) -> None:
    ledger = Ledger(client)
    end(start_heartbeat(ledger, settings(tmp_path), ["io"], worker="w", is_serving=lambda: False))
    assert ledger.nodes(60) == []
    assert ledger.living_workers(60) == {"w"}


def test_a_ledger_that_is_away_is_a_line_in_the_log_and_the_beat_goes_on(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with valkey_server() as server, caplog.at_level(logging.WARNING, "tasks.worker.heartbeat"):
        client = redis.Redis(port=server.port, retry=None)
        stopped = start_heartbeat(Ledger(client), settings(tmp_path), ["io"], worker="w")
        try:
            server.kill()
            wait_until(lambda: "could not say that it lives" in caplog.text, "a line in the log")
            server.start()
            wait_until(lambda: server_knows(server), "a beat after the restart")
        finally:
            end(stopped)
            client.close()


def server_knows(server: ValkeyServer) -> bool:
    client = server.client()
    try:
        return bool(beats(client))
    finally:
        client.close()
