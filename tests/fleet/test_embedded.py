"""The embedded broker: private, durable, one per directory, ended with its parent."""

from __future__ import annotations

import os
import re
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
import redis

from tasks.node.embedded import (
    BrokerError,
    EmbeddedServer,
    broker_url,
    feature_cache_role,
    redis_url,
    socket_path,
)
from tasks.resources.redis import feature_cache_url, open_feature_cache
from tasks.settings import Settings
from tests.fleet.processes import REPOSITORY, Fleet, wait_until

SHIPPED_CACHE = REPOSITORY / "deploy" / "redis-cache.conf"
AWKWARD = Path("x" * 80) / "état d'âme #1 ?"


@contextmanager
def _running(state_dir: Path) -> Iterator[EmbeddedServer]:
    broker = EmbeddedServer.start(state_dir)
    try:
        yield broker
    finally:
        broker.stop()


@pytest.mark.parametrize("name", ["state", AWKWARD])
def test_workers_and_plain_clients_reach_the_broker_by_its_urls(tmp_path: Path, name: Path | str) -> None:
    state_dir = tmp_path / name
    with _running(state_dir) as broker, closing(redis.Redis.from_url(redis_url(state_dir))) as client:
        assert client.ping()
        fleet = Fleet(broker_url(state_dir), tmp_path / "fleet")
        try:
            worker = fleet.start_worker("worker")
            fleet.send("nap", "task", 0.0)
            fleet.wait_for_events(event="end", name="task")
            wait_until(lambda: fleet.unacked() == 0, "acknowledged")
            assert fleet.ping(worker)
        finally:
            fleet.close()
        assert broker.redis_url == redis_url(state_dir)


def test_the_broker_listens_on_a_private_socket_only_and_never_evicts(tmp_path: Path) -> None:
    with _running(tmp_path) as broker, closing(redis.Redis.from_url(broker.redis_url)) as client:
        settings = client.config_get("port", "appendonly", "appendfsync", "maxmemory-policy")
        assert settings == {
            "port": "0",
            "appendonly": "yes",
            "appendfsync": "everysec",
            "maxmemory-policy": "noeviction",
        }
        assert stat.S_IMODE(socket_path(tmp_path).stat().st_mode) == 0o700


@pytest.mark.parametrize("name", ["state", AWKWARD])
def test_the_embedded_cache_is_configured_as_the_shipped_one_within_its_memory_and_found_while_it_runs(
    tmp_path: Path, name: Path | str
) -> None:
    settings = Settings.of(state_dir=tmp_path / name)
    with _running(tmp_path / name):
        assert open_feature_cache(settings) is None
        cache = EmbeddedServer.start(tmp_path / name, feature_cache_role(3_000_000))
        try:
            with closing(redis.Redis.from_url(str(feature_cache_url(settings)))) as client:
                set_here = client.config_get("maxmemory-policy", "save", "appendonly", "maxmemory", "port")
        finally:
            cache.stop()
    shipped = dict(line.split() for line in SHIPPED_CACHE.read_text().splitlines() if not line.startswith("#"))
    assert set_here == {
        "maxmemory-policy": shipped["maxmemory-policy"],
        "save": shipped["save"].strip('"'),
        "appendonly": shipped["appendonly"],
        "maxmemory": "3000000",
        "port": "0",
    }
    assert feature_cache_url(settings) is None
    assert not socket_path(tmp_path / name).exists()


def test_data_is_kept_over_a_stop_and_a_start(tmp_path: Path) -> None:
    for expected in (b"1", b"2"):
        with _running(tmp_path) as broker, closing(redis.Redis.from_url(broker.redis_url)) as client:
            client.incr("starts")
            assert client.get("starts") == expected


def test_a_second_broker_on_the_same_directory_is_refused_and_the_first_one_keeps_running(tmp_path: Path) -> None:
    with _running(tmp_path) as broker, closing(redis.Redis.from_url(broker.redis_url)) as client:
        with pytest.raises(BrokerError, match=rf"pid {broker.pid} already serves {re.escape(str(tmp_path))}"):
            EmbeddedServer.start(tmp_path)
        assert client.ping()


def test_the_broker_ends_with_its_parent_and_another_can_start_in_its_directory(tmp_path: Path) -> None:
    program = REPOSITORY / "tests" / "fleet" / "apps" / "embedding.py"
    owner = subprocess.Popen(
        [sys.executable, str(program), str(tmp_path)],
        stdout=subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": str(REPOSITORY)},
    )
    with owner:
        assert owner.stdout is not None
        pid = int(owner.stdout.readline())
        owner.send_signal(signal.SIGKILL)
    with _running(tmp_path) as broker:  # waits for the end of the first broker
        assert broker.pid != pid


def test_after_a_kill_the_broker_is_not_running_and_can_be_started_again(tmp_path: Path) -> None:
    broker = EmbeddedServer.start(tmp_path)
    os.kill(broker.pid, signal.SIGKILL)
    wait_until(lambda: not broker.is_running(), "the broker's end")
    with _running(tmp_path) as successor:
        assert successor.is_running()


def test_a_broker_that_cannot_start_shows_the_end_of_its_log(tmp_path: Path) -> None:
    (tmp_path / "broker" / "appendonlydir").mkdir(parents=True)
    (tmp_path / "broker" / "appendonlydir" / "appendonly.aof.manifest").write_text("nonsense\n", encoding="ascii")

    with pytest.raises(BrokerError, match=r"(?s)ended with status 1: the end of .*valkey\.log.*[Mm]anifest"):
        EmbeddedServer.start(tmp_path)


def test_a_long_path_gets_a_short_socket_directory_that_must_be_private(tmp_path: Path) -> None:
    state_dir = tmp_path / AWKWARD
    short = socket_path(state_dir).parent
    assert len(os.fsencode(short)) < 50
    assert short != socket_path(state_dir / "other").parent
    short.mkdir(mode=0o755)
    short.chmod(0o755)
    try:
        with pytest.raises(BrokerError, match=f"{short} must be a directory of yours with mode 700"):
            EmbeddedServer.start(state_dir)
    finally:
        short.rmdir()


def test_a_relative_state_directory_gives_the_same_urls_as_its_absolute_path(tmp_path: Path) -> None:
    relative = Path(os.path.relpath(tmp_path))
    assert broker_url(relative).startswith("redis+socket:///")
    assert ".." not in broker_url(relative)
    assert broker_url(relative) == broker_url(tmp_path)
