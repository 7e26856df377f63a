"""What whoever can write to the broker can do to a worker: nothing but send rows."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import pytest
from kombu import Queue

from tests.fleet.processes import Fleet, WorkerProcess, wait_until


class Payload:
    """A pickle that makes a file when it is read."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (self.path,))


@pytest.fixture
def worker(fleet: Fleet) -> WorkerProcess:
    worker = fleet.start_worker("worker")
    worker.wait_until_ready()
    return worker


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
def test_a_pickle_is_never_read_and_stops_nobody(
    fleet: Fleet, worker: WorkerProcess, tmp_path: Path, name: str
) -> None:
    ran = tmp_path / "ran"
    send_raw(fleet, pickle.dumps(((Payload(ran),), {}, {})), name, "binary")
    fleet.send("nap", "after", 0.0)
    fleet.wait_for_events(event="end")
    assert not ran.exists()
    assert worker.process.poll() is None
    wait_until(lambda: (fleet.waiting(), fleet.unacked()) == (0, 0), "nothing is left of it")


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
def test_a_message_that_makes_no_sense_stops_nobody(
    fleet: Fleet, worker: WorkerProcess, body: bytes, headers: dict[str, object]
) -> None:
    send_raw(fleet, body, "application/json", "utf-8", **headers)
    fleet.send("nap", "after", 0.0)
    fleet.wait_for_events(event="end")
    assert worker.process.poll() is None
    wait_until(lambda: (fleet.waiting(), fleet.unacked()) == (0, 0), "nothing is left of it")
