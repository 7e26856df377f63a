from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest
import redis

from tests.valkey import valkey_server

ROOT = Path(__file__).parents[2]
PATIENCE_SECONDS = 30


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def await_death(pid: int) -> bool:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while is_alive(pid) and time.monotonic() < deadline:
        time.sleep(0.02)
    return not is_alive(pid)


def test_the_server_and_its_directory_are_gone_after_the_context() -> None:
    with valkey_server() as server, server.client() as client:
        assert client.ping()
        pid, directory = server.pid, server.directory
    assert not is_alive(pid)
    assert not directory.exists()


def test_two_servers_know_nothing_of_each_other() -> None:
    with valkey_server() as one, valkey_server() as other, one.client() as client, other.client() as stranger:
        client.set("key", "value")
        assert stranger.get("key") is None


@pytest.mark.parametrize(("appendonly", "kept"), [(True, b"value"), (False, None)])
def test_a_killed_server_keeps_only_what_was_appended(appendonly: bool, kept: bytes | None) -> None:
    with valkey_server(appendonly=appendonly) as server:
        with server.client() as client:
            client.set("key", "value")
        server.kill()
        server.start()
        with closing(redis.Redis.from_url(server.url)) as client:
            assert client.get("key") == kept


def test_a_server_dies_with_its_owner_even_if_that_is_killed() -> None:
    program = """
import sys, time
from tests.valkey import valkey_server
with valkey_server() as server:
    print(server.pid, server.directory, flush=True)
    time.sleep(600)
"""
    owner = subprocess.Popen([sys.executable, "-c", program], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    with owner:
        assert owner.stdout is not None
        pid, directory = owner.stdout.readline().split()
        assert is_alive(int(pid))
        os.kill(owner.pid, signal.SIGKILL)
    assert await_death(int(pid))
    deadline = time.monotonic() + PATIENCE_SECONDS
    while Path(directory).exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not Path(directory).exists()


def test_a_taken_port_is_left_to_its_owner() -> None:
    with valkey_server() as one, valkey_server() as other:
        other.stop()
        other.port = one.port
        with pytest.raises(RuntimeError, match="already in use"):
            other.start()
        with one.client() as client:
            assert client.ping()


def test_a_server_that_cannot_start_says_why() -> None:
    broken = valkey_server(arguments=("--maxmemory", "nonsense"))
    with pytest.raises(RuntimeError, match=r"(?s)did not start.*maxmemory"):
        broken.__enter__()
