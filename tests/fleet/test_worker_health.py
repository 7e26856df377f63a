"""The health file says that the process lives, and what it is doing."""

from __future__ import annotations

import json
import signal
import time
from pathlib import Path

from tasks.telemetry.pulse import Phase, Pulse
from tasks.worker.health import LOOP_LIMIT_SECONDS, is_live
from tests.fleet.processes import Fleet, wait_until


def _beat(path: Path) -> dict[str, object]:
    return dict(json.loads(path.read_text(encoding="utf-8"))) if path.exists() else {}


def test_the_heartbeat_file_follows_the_worker_from_consuming_to_its_end(fleet: Fleet) -> None:
    path = fleet.directory / "run" / "worker.health"
    worker = fleet.start_worker("worker", queues="work,more", health_file=str(path), gated_queues=["work", "more"])
    wait_until(lambda: _beat(path).get("phase") == "consuming", "the first heartbeat")
    assert _beat(path)["pid"] == worker.pid
    assert _beat(path)["queues"] == ["more", "work"]
    assert _beat(path)["last_task_at"] is None
    written_at = _beat(path)["written_at"]

    fleet.send("hold", "task")
    wait_until(lambda: _beat(path)["last_task_at"] is not None, "the task in the heartbeat")
    assert _beat(path)["written_at"] != written_at

    (fleet.directory / "closed").touch()
    wait_until(lambda: _beat(path)["is_gate_open"] is False, "the closed gate in the heartbeat")

    worker.send(signal.SIGTERM)
    wait_until(lambda: _beat(path).get("phase") == "draining", "a heartbeat during the drain")
    fleet.release("task")
    assert worker.wait_for_exit() == 0
    assert list(path.parent.iterdir()) == []


def test_an_event_loop_that_no_longer_turns_is_not_live() -> None:
    pulse = Pulse(phase=Phase.CONSUMING)
    assert is_live(pulse)
    pulse.looped_at = time.monotonic() - LOOP_LIMIT_SECONDS - 1.0
    assert not is_live(pulse)


def test_without_a_connection_and_during_a_drain_no_loop_is_expected_to_turn() -> None:
    long_ago = time.monotonic() - LOOP_LIMIT_SECONDS - 1.0
    assert is_live(Pulse(phase=Phase.CONNECTING, looped_at=long_ago))
    assert is_live(Pulse(phase=Phase.DRAINING, looped_at=long_ago))
