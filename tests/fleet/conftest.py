"""One private broker per test module, one fleet of worker processes per test."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.fleet.processes import Fleet
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
