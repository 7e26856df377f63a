from __future__ import annotations

import threading
from contextlib import closing
from pathlib import Path

import pytest
import redis
from celery import Celery
from celery.app import amqp

from tasks.resources.redis import ledger_client
from tasks.settings import Settings
from tests.valkey import valkey_server


def test_a_client_with_patience_waits_for_a_server_that_restarts(tmp_path: Path) -> None:
    with valkey_server() as server:
        settings = Settings.of(state_dir=tmp_path, broker_url=server.url)
        with closing(ledger_client(settings, patience_seconds=30)) as client:
            client.ping()
            server.kill()
            threading.Timer(1.0, server.start).start()
            assert client.ping()


def test_a_client_with_little_patience_raises_soon(tmp_path: Path) -> None:
    with valkey_server() as server:
        settings = Settings.of(state_dir=tmp_path, broker_url=server.url)
        server.kill()
        with closing(ledger_client(settings, patience_seconds=0.5)) as client, pytest.raises(redis.ConnectionError):
            client.ping()


def test_a_chains_next_message_waits_minutes_for_the_broker() -> None:
    policy = Celery(config_source="celeryconfig", set_as_current=False).conf.task_publish_retry_policy
    retries = amqp._callback_publish_max_retries(policy, policy)
    assert retries * policy["interval_max"] >= 300
