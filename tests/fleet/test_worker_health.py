"""The health file of a worker, from its start to its end."""

from __future__ import annotations

import json
import signal
from pathlib import Path

from tests.fleet.processes import Fleet, wait_until


def _status(path: Path) -> dict[str, object]:
    return dict(json.loads(path.read_text(encoding="utf-8"))) if path.exists() else {}


def test_the_health_file_shows_the_workers_phase_gate_and_last_task_and_is_removed_at_its_end(fleet: Fleet) -> None:
    path = fleet.directory / "run" / "worker.health"
    worker = fleet.start_worker("worker", queues="work,more", health_file=str(path), gated_queues=["work", "more"])
    wait_until(lambda: _status(path).get("phase") == "consuming", "the first health file")
    assert _status(path)["pid"] == worker.pid
    assert _status(path)["queues"] == ["more", "work"]
    assert _status(path)["last_task_at"] is None
    written_at = _status(path)["written_at"]

    fleet.send("hold", "task")
    wait_until(lambda: _status(path)["last_task_at"] is not None, "the task in the health file")
    assert _status(path)["written_at"] != written_at

    (fleet.directory / "closed").touch()
    wait_until(lambda: _status(path)["is_gate_open"] is False, "the closed gate in the health file")

    worker.send(signal.SIGTERM)
    wait_until(lambda: _status(path).get("phase") == "draining", "the health file during the drain")
    fleet.release("task")
    assert worker.wait_for_exit() == 0
    assert list(path.parent.iterdir()) == []
