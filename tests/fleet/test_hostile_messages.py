"""Hostile messages: whatever a client writes to the broker, a worker runs only its own tasks and goes on."""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from kombu import Queue

from tests.fleet.processes import Fleet, WorkerProcess, wait_until
from tests.valkey import ValkeyServer


class PicklePayload:
    """A pickle that creates a file when it is read."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (self.path,))


@dataclass
class Target:
    """A worker that gets hostile messages, and the plain tasks that show that it still works."""

    fleet: Fleet
    worker: WorkerProcess
    sent: int = 0

    def assert_it_still_works(self) -> None:
        """Run one more task; no message may be left over."""
        self.sent += 1
        self.fleet.send("nap", f"after-{self.sent}", 0.0)
        self.fleet.wait_for_events(event="end", name=f"after-{self.sent}", worker="worker")
        wait_until(lambda: (self.fleet.waiting(), self.fleet.unacked()) == (0, 0), "no message is left")
        assert self.worker.process.poll() is None


@pytest.fixture(scope="module")
def target(server: ValkeyServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    """A worker for all hostile messages: each of them has to leave it working."""
    fleet = Fleet(server.url, tmp_path_factory.mktemp("hostile"), keyprefix="hostile:")
    yield Target(fleet, fleet.start_worker("worker"))
    fleet.close()


def send_raw(fleet: Fleet, body: bytes, content_type: str, encoding: str, **headers: object) -> None:
    with fleet.app.connection_for_write() as connection, connection.Producer(serializer="json") as producer:
        queue = Queue("work", exchange="work", routing_key="work")
        producer.publish(
            body,
            exchange=queue.exchange,
            routing_key="work",
            declare=[queue],
            content_type=content_type,
            content_encoding=encoding,
            headers={"lang": "py", "task": "nap", "id": "hostile", **headers},
        )


@pytest.mark.parametrize("name", ["application/x-python-serialize", "pickle", "application/data"])
def test_a_pickle_is_never_read_and_the_worker_goes_on(target: Target, tmp_path: Path, name: str) -> None:
    ran = tmp_path / "ran"
    send_raw(target.fleet, pickle.dumps(((PicklePayload(ran),), {}, {})), name, "binary")
    target.assert_it_still_works()
    assert not ran.exists()


@pytest.mark.parametrize(
    ("body", "headers"),
    [
        (b"{", {}),
        (b"[]", {}),
        (b'[["x"], {}, {"callbacks": [{"task": "os.system", "args": ["touch /"]}]}]', {"task": "os.system"}),
        (b'[[], {}, {"chord": 7}]', {"eta": "yesterday-ish"}),
        (b"\xff\xfe", {}),
        (b'[["a"], {"unknown": 1}, {}]', {}),
    ],
    ids=["cut", "no-call", "unknown-task", "wrong-types", "no-text", "wrong-arguments"],
)
def test_a_malformed_message_is_dropped_and_the_worker_goes_on(
    target: Target, body: bytes, headers: dict[str, object]
) -> None:
    send_raw(target.fleet, body, "application/json", "utf-8", **headers)
    target.assert_it_still_works()
