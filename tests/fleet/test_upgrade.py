"""Upgrade of a working fleet: old messages are read, newer ones wait for a newer worker."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tasks.messages import SCHEMA
from tasks.queues import TaskName, gpu_queue
from tests.fleet.processes import wait_until
from tests.fleet.upgrading import NODE, ROWS, SPEC, UpgradeWorld, frozen_messages
from tests.valkey import ValkeyServer

JUDGED = [(number, "true", f"video {number}") for number in range(ROWS)]


@pytest.fixture
def world(server: ValkeyServer, tmp_path: Path) -> Iterator[UpgradeWorld]:
    made = UpgradeWorld(tmp_path, server)
    yield made
    made.close()


def is_complete(world: UpgradeWorld) -> bool:
    run = world.ledger.run(SPEC.run_id)
    return run is not None and run.is_complete


@pytest.mark.parametrize("schema", range(1, SCHEMA + 1))
def test_messages_of_an_older_release_in_every_queue_are_processed(world: UpgradeWorld, schema: int) -> None:
    frozen = frozen_messages(schema)
    run = world.submit()
    assert run.run_id == SPEC.run_id

    world.push("control", frozen["control"])  # feed
    results = world.start("results", "results", "control")
    wait_until(lambda: len(world.waiting("io")) == ROWS, "the run was fed", story=world.fleet.story)
    results.kill()
    world.drop("io")

    world.push("io", frozen["io"][: ROWS // 2])  # download, and infer behind it
    world.push(gpu_queue(NODE), frozen[gpu_queue(NODE)][ROWS // 2 :])  # infer, whose file is no longer in the spool
    world.start("gpu", gpu_queue(NODE), "gpu")
    world.start("io", "io")
    wait_until(lambda: len(world.waiting("results")) == 1, "every row is judged", story=world.fleet.story)

    world.drop("results")
    world.push("results", frozen["results"])  # write_shard
    world.start("results", "results", "control")
    wait_until(lambda: is_complete(world), "the shard is written", story=world.fleet.story)
    assert world.written() == JUDGED
    wait_until(lambda: world.fleet.unacked() == 0, "every message is acknowledged", story=world.fleet.story)


def test_messages_of_a_newer_release_wait_for_a_newer_worker(world: UpgradeWorld) -> None:
    run = world.submit()
    world.start("results", "results", "control", app="newer")
    old_io, old_gpu = world.start("io", "io"), world.start("gpu", gpu_queue(NODE), "gpu")
    world.send(TaskName.FEED, run.run_id)

    refused = f"message schema {SCHEMA + 1}; this worker reads {SCHEMA}: upgrade it; another worker is asked"
    old_io.wait_for(refused, 60.0)
    world.start("io", "io", app="newer")
    old_gpu.wait_for(refused, 60.0)
    counts = world.ledger.counts(run.run_id)
    assert counts is not None
    assert (counts.in_flight, counts.failed) == (ROWS, 0)

    world.start("gpu", "gpu", app="newer")
    wait_until(lambda: is_complete(world), "the run is complete", story=world.fleet.story)
    assert world.written() == JUDGED
