"""Private brokers, and one fleet of worker processes per test."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from kombu import Connection

from tests.fleet.processes import Fleet
from tests.rabbitmq import RabbitNode, rabbit_node
from tests.valkey import ValkeyServer, valkey_server


@pytest.fixture(scope="module")
def valkey() -> Iterator[ValkeyServer]:
    """A real server on a free loopback port."""
    with valkey_server() as server:
        yield server


@pytest.fixture
def make_fleet(valkey: ValkeyServer, tmp_path: Path) -> Iterator[Callable[..., Fleet]]:
    """Make a fleet; its workers are killed and the broker emptied afterwards."""
    fleets: list[Fleet] = []

    def make(visibility_timeout_seconds: float = 5.0) -> Fleet:
        fleets.append(Fleet(valkey.url, tmp_path / f"fleet-{len(fleets)}", visibility_timeout_seconds))
        return fleets[-1]

    yield make
    for fleet in fleets:
        fleet.close()
    client = valkey.client()
    client.flushall()
    client.close()


@pytest.fixture
def fleet(make_fleet: Callable[..., Fleet]) -> Fleet:
    """A fleet with a visibility timeout of five seconds."""
    return make_fleet()


@pytest.fixture(scope="session")
def rabbit() -> Iterator[RabbitNode]:
    """A real node on free loopback ports; it takes seconds to start, so all tests share it."""
    with rabbit_node() as node:
        yield node


@pytest.fixture
def rabbit_fleet(rabbit: RabbitNode, tmp_path: Path) -> Iterator[Fleet]:
    """A fleet on RabbitMQ; its workers are killed and its queues emptied afterwards.

    Not deleted: a publisher that has declared a queue does not do so again, and would send to nobody.
    """
    fleet = Fleet(rabbit.url, tmp_path / "fleet")
    yield fleet
    fleet.close()
    with Connection(rabbit.url) as connection:
        for queue in ("work", "other"):
            with suppress(*connection.channel_errors):  # not every test declares both
                connection.default_channel.queue_purge(queue)


@pytest.fixture(scope="session")
def first_verdicts() -> dict[str, dict[str, Any]]:
    """The local demo's result rows by video, as its first sift wrote them; empty until a test has run it."""
    return {}
