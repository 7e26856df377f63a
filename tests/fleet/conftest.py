"""Fixtures: private brokers, and one fleet of worker processes per test."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from kombu import Connection

from tests.fleet.processes import Fleet
from tests.rabbitmq import RabbitNode, rabbit_node
from tests.valkey import ValkeyServer


@pytest.fixture
def make_fleet(server: ValkeyServer, tmp_path: Path) -> Iterator[Callable[..., Fleet]]:
    """Return a function that makes fleets; their workers are killed and the broker is emptied afterwards."""
    fleets: list[Fleet] = []

    def make(visibility_timeout_seconds: float = 5.0) -> Fleet:
        fleets.append(Fleet(server.url, tmp_path / f"fleet-{len(fleets)}", visibility_timeout_seconds))
        return fleets[-1]

    yield make
    for fleet in fleets:
        fleet.close()
    client = server.client()
    client.flushall()
    client.close()


@pytest.fixture
def fleet(make_fleet: Callable[..., Fleet]) -> Fleet:
    """A fleet with a visibility timeout of five seconds."""
    return make_fleet()


@pytest.fixture(scope="session")
def rabbit() -> Iterator[RabbitNode]:
    """A real node on free loopback ports, shared by all tests because it takes seconds to start."""
    with rabbit_node() as node:
        yield node


@pytest.fixture
def rabbit_fleet(rabbit: RabbitNode, tmp_path: Path) -> Iterator[Fleet]:
    """A fleet on RabbitMQ; its workers are killed and its queues are emptied afterwards.

    The queues are not deleted: a publisher declares a queue only once, and would then send to no queue.
    """
    fleet = Fleet(rabbit.url, tmp_path / "fleet")
    yield fleet
    fleet.close()
    with Connection(rabbit.url) as connection:
        for queue in ("work", "other"):
            with suppress(*connection.channel_errors):  # a test may declare only one of them
                connection.default_channel.queue_purge(queue)


@pytest.fixture(scope="session")
def first_verdicts() -> dict[str, dict[str, Any]]:
    """Result rows of the local demo's first sift, by video; empty until a test has run it."""
    return {}
