"""The fleet of all tests of this folder: its run takes a quarter of a minute."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.browser.watched import MonitoredFleet, watched_fleet


@pytest.fixture(scope="session")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MonitoredFleet]:
    """A fleet after its run, with its Prometheus."""
    with watched_fleet(tmp_path_factory.mktemp("watched")) as fleet:
        yield fleet
