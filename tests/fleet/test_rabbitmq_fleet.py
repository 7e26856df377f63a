"""The fleet's own app on RabbitMQ: its queues, and a message that kills every worker."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from kombu import Connection

from storage.ledger import Ledger
from storage.tables.open import open_output
from tasks.broker.queue_depth import waiting_messages
from tasks.queues import TaskName
from tests.fleet.processes import REPOSITORY, wait_until
from tests.rabbitmq import RabbitNode
from tests.valkey import valkey_server

DELIVERY_LIMIT = 20
ATTEMPTS = 2
OUR_QUEUES = ("control", "io", "results", "gpu", "gpu.elsewhere", "dead")


@dataclass
class RabbitWorld:
    """A run of one row, the settings of its fleet, and the fleet's processes."""

    root: Path
    rabbit: RabbitNode
    ledger: Ledger
    environ: dict[str, str]
    processes: list[subprocess.Popen[bytes]] = field(default_factory=list)

    @property
    def outputs(self) -> str:
        return f"sqlite:///{self.root}/output.db#results"

    def start_worker(self, name: str, queues: str) -> None:
        command = [sys.executable, "-m", "tasks", "worker", "-P", "threads", "-c", "2", "-Q", queues]
        with self.log_of(name).open("wb") as log:
            self.processes.append(
                subprocess.Popen(
                    [*command, "-n", f"{name}@dead-letters", "--loglevel=INFO", "--without-mingle"],
                    env=self.environ,
                    cwd=REPOSITORY,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                )
            )
        wait_until(lambda: " ready." in self.log_of(name).read_text(), f"{name} ready")

    def log_of(self, name: str) -> Path:
        return self.root / f"{name}.log"

    def run(self, *command: str) -> None:
        answer = subprocess.run(
            [sys.executable, *command], env=self.environ, cwd=REPOSITORY, capture_output=True, text=True, check=False
        )
        assert answer.returncode == 0, answer.stdout + answer.stderr

    def send(self, *tasks: tuple[TaskName, object]) -> None:
        """Publish through the app's own routes."""
        sends = "; ".join(f"app.send_task({task.value!r}, {args!r})" for task, args in tasks)
        self.run("-c", f"from tasks.celery import app; {sends}")

    def waiting(self, queue: str) -> int:
        with Connection(self.rabbit.url) as connection:
            return waiting_messages(connection.default_channel, [queue])


@pytest.fixture
def world(rabbit: RabbitNode, tmp_path: Path) -> Iterator[RabbitWorld]:
    """A world whose fleet is not started yet."""
    row = {"video_id": "v1", "oss_bucket": "bucket", "video_path": "v1.mp4", "video_tag": "t", "info": "{}"}
    (tmp_path / "input.jsonl").write_text(json.dumps(row) + "\n")
    (tmp_path / "objects" / "bucket").mkdir(parents=True)
    with valkey_server() as valkey, closing(valkey.client()) as client:
        settings = {
            "TAMIS_BROKER_URL": rabbit.url,
            "TAMIS_LEDGER_URL": valkey.url,
            "TAMIS_STATE_DIR": str(tmp_path / "state"),
            "TAMIS_OBJECT_ROOT": str(tmp_path / "objects"),
            "TAMIS_NODE": "here",
            "TAMIS_MAX_ATTEMPTS": str(ATTEMPTS),
            "TAMIS_STALE_SHARD_SECONDS": "0.2",
        }
        made = RabbitWorld(tmp_path, rabbit, Ledger(client), os.environ | settings)
        try:
            yield made
        finally:
            for process in made.processes:
                process.kill()
                process.wait()
            _empty(rabbit)


def _empty(rabbit: RabbitNode) -> None:
    with Connection(rabbit.url) as connection:
        for queue in OUR_QUEUES:
            connection.default_channel.queue_delete(queue)


def test_every_queue_is_a_quorum_queue_with_a_delivery_limit_and_dead_letters(world: RabbitWorld) -> None:
    world.send(  # published before any worker consumes, so declared by the publisher
        (TaskName.INFER, ({"node": "elsewhere"},)),
        (TaskName.INFER, ({},)),
        (TaskName.DOWNLOAD, ({},)),
        (TaskName.WRITE_SHARD, ("no-such-run", "0-1")),
    )
    world.start_worker("io", "io")  # and these by the consumer
    world.start_worker("results", "results,control")

    queues = world.rabbit.queues("type", "durable", "arguments")

    ours = {name: queue for name, queue in queues.items() if "celery" not in name and name not in {"work", "other"}}
    assert set(ours) == set(OUR_QUEUES)
    assert {(queue["type"], queue["durable"]) for queue in ours.values()} == {("quorum", True)}
    arguments = {name: {key: value for key, _, value in queue["arguments"]} for name, queue in ours.items()}
    assert arguments.pop("dead").pop("x-max-length") > 0
    limits = {(each["x-delivery-limit"], each["x-dead-letter-exchange"]) for each in arguments.values()}
    assert limits == {(DELIVERY_LIMIT, "tamis.dead")}
    assert "PRECONDITION_FAILED" not in world.log_of("io").read_text() + world.log_of("results").read_text()
    assert (world.waiting("gpu.elsewhere"), world.waiting("gpu")) == (1, 1)


def test_a_message_returned_too_often_becomes_a_dead_letter_and_its_row_a_failure(world: RabbitWorld) -> None:
    world.start_worker("results", "results,control")
    tables = f"file://{world.root}/input.jsonl"
    world.run("-m", "tasks", "sift", "--tables", tables, "--outputs", world.outputs, "--no-wait")
    _wait(lambda: world.waiting("io") == 1, "the row's download waits")

    assert _refuse_until_gone(world.rabbit, "io") == DELIVERY_LIMIT + 1
    _wait(lambda: world.waiting("dead") == 1, "the dead letter")
    letter = _get(world.rabbit, "dead")
    assert letter["headers"]["task"] == TaskName.DOWNLOAD.value
    assert [(death["queue"], death["reason"]) for death in letter["headers"]["x-death"]] == [("io", "delivery_limit")]

    def fed_again() -> bool:
        world.send((TaskName.SWEEP, ()))
        return world.waiting("io") == 1

    _wait(fed_again, "the sweep finds the row")
    (run,) = world.ledger.runs()
    (shard,) = world.ledger.open_shards(run.run_id)
    for _ in range(ATTEMPTS):  # as processes that die in the download leave it
        world.ledger.attempts.begin(run.run_id, shard.shard_id, 0, "download")
    world.start_worker("io", "io")

    with closing(open_output(world.outputs)) as output:
        _wait(lambda: output.count_results(run.run_id) == 1, "the row's result")
        assert output.outcomes(run.run_id, 0, 1) == {0: "attempts_exhausted"}
    _wait(lambda: _is_complete(world, run.run_id), "the run is complete")
    assert [world.waiting(queue) for queue in ("io", "results", "dead")] == [0, 0, 0]


def test_a_message_to_a_deleted_queue_is_kept_with_the_dead_letters(world: RabbitWorld) -> None:
    world.start_worker("results", "results,control")
    world.send((TaskName.DOWNLOAD, ({},)))
    with Connection(world.rabbit.url) as connection:
        channel: Any = connection.default_channel
        channel.queue_delete("io")
        channel.basic_publish_confirm(channel.prepare_message(b"{}"), exchange="tamis", routing_key="io")

    _wait(lambda: world.waiting("dead") == 1, "the message without a queue")


def _wait(condition: Callable[[], bool], what: str) -> None:
    wait_until(condition, what, 30.0)


def _refuse_until_gone(rabbit: RabbitNode, queue: str) -> int:
    """Return a queue's message until the broker delivers it no more; return the number of deliveries."""
    deliveries = 0
    with Connection(rabbit.url) as connection:
        channel: Any = connection.default_channel
        while (message := channel.basic_get(queue)) is not None:
            deliveries += 1
            channel.basic_reject(message.delivery_tag, requeue=True)
    return deliveries


def _get(rabbit: RabbitNode, queue: str) -> dict[str, Any]:
    with Connection(rabbit.url) as connection:
        message = connection.default_channel.basic_get(queue, no_ack=True)
        assert message is not None
        return {"headers": message.headers}


def _is_complete(world: RabbitWorld, run_id: str) -> bool:
    run = world.ledger.run(run_id)
    return run is not None and run.is_complete
