"""Publishing of rows in batches, also when the broker dies during a batch."""

from __future__ import annotations

import base64
import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest
from kombu import Connection, Producer

from tasks.feed import BATCH_COMMANDS, send
from tasks.messages import RowMessage
from tests.valkey import ValkeyServer, valkey_server

FLUSHED_ROWS = BATCH_COMMANDS // 2


class Rows(list[RowMessage]):
    """Rows that kill the server when row ``dies_at`` is read, and start it again for the second reading."""

    def __init__(self, count: int, server: ValkeyServer | None = None, dies_at: int = -1) -> None:
        record = {"video_id": "v", "oss_bucket": "b", "video_path": "p", "video_tag": "", "info": ""}
        super().__init__(RowMessage(run_id="run", shard_id="s", ordinal=n, record=record) for n in range(count))
        self.server, self.dies_at = server, dies_at
        self.readings = 0

    def __iter__(self) -> Iterator[RowMessage]:
        self.readings += 1
        if self.server is not None and self.readings == 2:
            self.server.start()
        for row in super().__iter__():
            if self.server is not None and self.readings == 1 and row.ordinal == self.dies_at:
                self.server.kill()
            yield row


def bodies(server: ValkeyServer) -> list[Any]:
    """Return the bodies of the queue's messages, the oldest first: ``[args, kwargs, {"chain": …}]``."""
    client = server.client()
    messages = [json.loads(text) for text in client.lrange("io", 0, -1)]
    client.close()
    return [json.loads(base64.b64decode(message["body"])) for message in reversed(messages)]


def ordinals(server: ValkeyServer) -> list[int]:
    return [body[0][0]["ordinal"] for body in bodies(server)]


@pytest.fixture
def server() -> Iterator[ValkeyServer]:
    with valkey_server(appendonly=True) as running:
        yield running


@pytest.fixture
def producer(server: ValkeyServer) -> Iterator[Producer]:
    with Connection(server.url) as connection, Producer(connection) as producer:
        yield producer


def test_every_row_is_sent_as_a_chain_of_download_and_infer(server: ValkeyServer, producer: Producer) -> None:
    assert producer.supports_batch_publish
    send(Rows(FLUSHED_ROWS + 3), producer)
    assert ordinals(server) == list(range(FLUSHED_ROWS + 3))
    chains = [body[2]["chain"] for body in bodies(server)]
    assert [step["task"] for (step,) in chains] == ["tasks.infer"] * len(chains)


def test_a_broker_that_dies_during_the_only_batch_gets_every_row_again(
    server: ValkeyServer, producer: Producer, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        send(Rows(5, server, dies_at=3), producer)
    assert ordinals(server) == list(range(5))
    assert "sending 5 rows again" in caplog.text


def test_a_broker_that_dies_after_a_batch_gets_rows_twice_and_loses_none(
    server: ValkeyServer, producer: Producer
) -> None:
    count = FLUSHED_ROWS + 20
    send(Rows(count, server, dies_at=FLUSHED_ROWS + 10), producer)
    assert ordinals(server) == [*range(FLUSHED_ROWS), *range(count)]


def test_a_transport_without_batches_sends_rows_one_by_one() -> None:
    with Connection("memory://") as connection, Producer(connection) as producer:
        assert not producer.supports_batch_publish
        send(Rows(7), producer)
        with connection.SimpleQueue("io") as queue:
            waiting = [queue.get(block=False) for _ in range(7)]
            for message in waiting:
                message.ack()
    assert [message.payload[0][0]["ordinal"] for message in waiting] == list(range(7))
