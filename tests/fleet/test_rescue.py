"""Rescue: the rows of a node that has lost its GPU worker are judged on another node."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from storage.ledger import Run
from tasks.delivery.rescue import unserved_queues
from tasks.queues import TaskName, gpu_queue
from tests.fleet.light_nodes import ROWS, SILENCE_SECONDS, THREADS, Nodes, light_nodes, submit_small_files, written
from tests.fleet.processes import wait_until
from tests.valkey import ValkeyServer


@pytest.fixture
def nodes(server: ValkeyServer, tmp_path: Path) -> Iterator[Nodes]:
    with light_nodes(server, tmp_path, visibility_timeout_seconds=2.0) as nodes:
        yield nodes


@pytest.fixture
def run(nodes: Nodes) -> Run:
    return submit_small_files(nodes)


def test_rows_of_a_node_without_its_gpu_worker_are_judged_on_another(nodes: Nodes, run: Run) -> None:
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

    own = gpu_queue("n1")
    wait_until(lambda: nodes.fleet.waiting(own) == ROWS, "the dead worker's rows are back in the queue")
    wait_until(lambda: own in unserved_queues(nodes.ledger, SILENCE_SECONDS), "n1 has been silent for long enough")
    nodes.send(TaskName.RESCUE)
    wait_until(lambda: nodes.is_complete(run), "the run is complete", story=nodes.fleet.story)

    expected = [(number, str(nodes.spool("n2")), f"video {number}") for number in range(ROWS)]
    assert written(nodes) == expected
    assert nodes.in_flight(run) == 0
    assert nodes.fleet.waiting(own) == 0
    wait_until(lambda: nodes.fleet.unacked() == 0, "every message is acknowledged")
