"""Two nodes, one of which loses its GPU worker for good: its rows are judged on the other."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from storage.ledger import Run
from tasks.queues import TaskName, gpu_queue
from tests.fleet.light_nodes import ROWS, THREADS, Nodes, light_nodes, submit_small_files, written
from tests.fleet.processes import wait_until
from tests.valkey import ValkeyServer

TICK_SECONDS = 1.0  # in place of beat's ten


@pytest.fixture
def nodes(valkey: ValkeyServer, tmp_path: Path) -> Iterator[Nodes]:
    with light_nodes(valkey, tmp_path, visibility_timeout_seconds=2.0) as nodes:
        yield nodes


@pytest.fixture
def run(nodes: Nodes) -> Run:
    return submit_small_files(nodes)


def test_a_node_that_loses_its_gpu_worker_for_good_has_its_rows_judged_on_another(nodes: Nodes, run: Run) -> None:
    nodes.hold("n1").touch()
    for worker in (
        nodes.start("n1", "results", "results", "control"),
        nodes.start("n1", "io", "io"),
        dead := nodes.start("n1", "gpu", gpu_queue("n1"), "gpu"),
    ):
        worker.wait_until_ready()
    nodes.send(TaskName.FEED, run.run_id)
    wait_until(lambda: nodes.fleet.waiting(gpu_queue("n1")) == ROWS - THREADS, "all but two rows wait for n1")
    wait_until(lambda: nodes.fleet.unacked() == THREADS, "n1 has two rows in hand")

    dead.kill()
    living = nodes.start("n2", "gpu", gpu_queue("n2"), "gpu")
    living.wait_until_ready()

    def is_done() -> bool:
        found = nodes.ledger.run(run.run_id)
        if found is not None and found.is_complete:
            return True
        nodes.send(TaskName.RESCUE)
        time.sleep(TICK_SECONDS)
        return False

    wait_until(is_done, "the run is complete", story=nodes.fleet._story)

    expected = [(number, str(nodes.spool("n2")), f"video {number}") for number in range(ROWS)]
    assert written(nodes) == expected
    assert nodes.in_flight(run) == 0
    assert nodes.fleet.waiting(gpu_queue("n1")) == 0
    wait_until(lambda: nodes.fleet.unacked() == 0, "every message is acknowledged")
