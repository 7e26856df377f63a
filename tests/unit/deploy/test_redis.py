"""The configurations of the two servers, each loaded by a real server with the command of compose.yaml."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from tests.unit.deploy.tools import DEPLOY, compose
from tests.valkey import ValkeyServer, valkey_server

PASSWORD = "correct-horse"
FILES = {"broker": "redis-broker.conf", "cache": "redis-cache.conf"}


@contextmanager
def as_in_compose(service: str, directory: Path) -> Iterator[ValkeyServer]:
    """Start a server with the file and the options of compose.yaml, and a directory and secret of this test."""
    secret = directory / "auth"
    secret.write_text(f"requirepass {PASSWORD}\n")
    mounts = {
        f"/etc/valkey/{FILES[service]}": str(DEPLOY / FILES[service]),
        "/run/secrets/broker_auth": str(secret),
        "/data": str(directory),
    }
    program, configuration, *options = (mounts.get(word, word) for word in compose()["services"][service]["command"])
    assert program == "valkey-server"
    with valkey_server(configuration=Path(configuration), arguments=tuple(options), password=PASSWORD) as server:
        yield server


def asked(server: ValkeyServer, *names: str) -> dict[str, str]:
    with closing(server.client()) as client:
        return {name: client.config_get(name)[name] for name in names}


def test_the_broker_evicts_nothing_and_writes_its_data_to_disk(tmp_path: Path) -> None:
    with as_in_compose("broker", tmp_path) as server:
        assert asked(server, "maxmemory-policy", "appendonly", "appendfsync", "save") == {
            "maxmemory-policy": "noeviction",
            "appendonly": "yes",
            "appendfsync": "everysec",
            "save": "",
        }
        assert list(tmp_path.rglob("*.aof"))


def test_the_broker_has_its_data_after_it_was_killed(tmp_path: Path) -> None:
    with as_in_compose("broker", tmp_path) as server:
        with closing(server.client()) as client:
            client.rpush("tamis:io", "message")
            client.config_set("appendfsync", "always")  # otherwise the write waits up to a second
            client.rpush("tamis:io", "another")
        server.kill()
        server.start()
        with closing(server.client()) as client:
            assert client.llen("tamis:io") == 2


def test_the_cache_evicts_and_writes_nothing_to_disk(tmp_path: Path) -> None:
    with as_in_compose("cache", tmp_path) as server:
        assert asked(server, "maxmemory-policy", "maxmemory", "appendonly", "save") == {
            "maxmemory-policy": "allkeys-lru",
            "maxmemory": str(1433 * 1024**2),
            "appendonly": "no",
            "save": "",
        }


@pytest.mark.parametrize("service", sorted(FILES))
def test_a_server_refuses_a_client_without_the_password(service: str, tmp_path: Path) -> None:
    with (
        as_in_compose(service, tmp_path) as server,
        closing(redis.Redis(host="127.0.0.1", port=server.port, retry=Retry(NoBackoff(), 0))) as stranger,
        pytest.raises(redis.AuthenticationError),
    ):
        stranger.ping()
