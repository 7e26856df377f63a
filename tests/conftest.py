"""Settings for every test, and the assignment of test files to processes."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest
import redis

from tests.valkey import ValkeyServer, valkey_server

if TYPE_CHECKING:
    from xdist.scheduler import LoadScopeScheduling

os.environ["OMP_WAIT_POLICY"] = "passive"  # before any test imports torch; inference.models gives the reason

os.environ.setdefault("TAMIS_MANIFEST", "tiny")  # every kind of filter and output, on seeded weights

# Hundreds of processes load the packages: each would compile them again.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False

# Tests of one file share fixtures, and so a process. These files share data with another file.
TOGETHER = {
    "tests/fleet/test_journey_cloud.py": "tests/fleet/test_journey.py",  # compares its verdicts with
    **dict.fromkeys(("tests/bench/test_harness.py", "tests/bench/test_video.py"), "bench/cache"),
}


def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> LoadScopeScheduling:
    """Distribute whole files, in their order: tests/fleet, which waits most, comes first."""
    from xdist.scheduler import LoadScopeScheduling

    class ByFile(LoadScopeScheduling):  # type: ignore[misc]  # xdist's own way to group tests
        def _split_scope(self, nodeid: str) -> str:
            path = nodeid.partition("::")[0]
            return TOGETHER.get(path, path)

    return ByFile(config, log)


@pytest.fixture(scope="session")
def server() -> Iterator[ValkeyServer]:
    """A real Valkey server for all tests of a process that neither stop nor reconfigure it; see :func:`client`."""
    with valkey_server() as running:
        yield running


@pytest.fixture
def client(server: ValkeyServer) -> Iterator[redis.Redis]:
    """A client of ``server``, which is empty at the start of the test."""
    with server.client() as opened:
        opened.flushall()
        yield opened
