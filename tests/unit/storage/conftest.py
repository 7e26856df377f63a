"""A ledger on a private, real server, empty at the start of each test."""

from __future__ import annotations

import pytest
import redis

from storage.ledger import Ledger


@pytest.fixture
def ledger(client: redis.Redis) -> Ledger:
    return Ledger(client)
