"""The SDKs as they come: what our own stores set in them for the whole process is not the servers' business."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from odps.config import option_context, options

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(autouse=True)
def _sdk_as_installed() -> Iterator[None]:
    """A test that ran before may have read a table of ours, which turns the retries of pyodps off."""
    with option_context({"retry_times": 4, "retry_delay": 0.1}):
        options.tunnel.upsert_keepalive_interval = 30
        yield
