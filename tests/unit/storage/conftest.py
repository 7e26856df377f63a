"""A ledger on a private, real server, empty at the start of each test."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import redis

from storage.ledger import Ledger
from tests.valkey import valkey_server


@pytest.fixture(scope="module")
def client() -> Iterator[redis.Redis]:
    with valkey_server() as server, server.client() as client:
        yield client


@pytest.fixture
def ledger(client: redis.Redis) -> Ledger:
    client.flushall()
    return Ledger(client)
