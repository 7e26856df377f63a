"""The SDKs with their default configuration, without the process-wide changes of tamis's stores."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from odps.config import option_context, options

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(autouse=True)
def _sdk_as_installed() -> Iterator[None]:
    """Restore pyodps's retries: a table of tamis that an earlier test opened has turned them off."""
    with option_context({"retry_times": 4, "retry_delay": 0.1}):
        options.tunnel.upsert_keepalive_interval = 30
        yield
