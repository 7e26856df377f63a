"""One watched fleet for all of these tests: it takes a quarter of a minute to have something to show."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.browser.watched import Watched, watched_fleet


@pytest.fixture(scope="session")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    """A fleet after its run, with its Prometheus."""
    with watched_fleet(tmp_path_factory.mktemp("watched")) as fleet:
        yield fleet
