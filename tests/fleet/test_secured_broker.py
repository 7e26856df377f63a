"""A broker with TLS and users: the users in deploy/ may do all that a fleet needs, and nothing else."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import pytest
import redis

from tasks.queues import TaskName, gpu_queue
from tests.fleet.light_nodes import Nodes, light_nodes, submit_small_files
from tests.fleet.processes import REPOSITORY, wait_until
from tests.servers.tls import Relay, tls_relay
from tests.valkey import ValkeyServer, valkey_server

USERS = REPOSITORY / "deploy" / "redis-users.acl"
TAMIS = (sys.executable, "-m", "tasks")
PASSWORD = "p-4-fleet"


@dataclass(frozen=True, slots=True)
class Secured:
    server: ValkeyServer
    relay: Relay

    def url(self, user: str = "fleet", password: str = PASSWORD) -> str:
        return f"rediss://{user}:{password}@localhost:{self.relay.port}/0?ssl_ca_certs={self.relay.authority}"

    def client(self, user: str) -> redis.Redis:
        return redis.Redis(port=self.server.port, username=user, password=PASSWORD)


@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secured]:
    """A server behind TLS with the shipped users and other passwords. The tests use its default user."""
    with valkey_server() as server, tls_relay(server.port, tmp_path_factory.mktemp("tls")) as relay:
        client = server.client()
        for line in USERS.read_text().splitlines():
            if line.startswith("user ") and not line.startswith("user default"):
                _, name, *rules = line.replace("0" * 64, sha256(PASSWORD.encode()).hexdigest()).split()
                client.execute_command("ACL", "SETUSER", name, "reset", *rules)
        client.close()
        yield Secured(server, relay)


@pytest.fixture
def nodes(secured: Secured, tmp_path: Path) -> Iterator[Nodes]:
    with light_nodes(secured.server, tmp_path) as nodes:
        yield nodes


def environ(url: str, directory: Path) -> dict[str, str]:
    return {"PATH": "/usr/bin:/bin", "TAMIS_BROKER_URL": url, "TAMIS_STATE_DIR": str(directory / "state")}


def tamis(url: str, directory: Path, *command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*TAMIS, *command],
        cwd=REPOSITORY,
        env=environ(url, directory),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def ticks(url: str, directory: Path) -> str:
    """Run a beat until it has sent a task; return its log."""
    log = directory / "beat.log"
    with (
        log.open("wb") as output,
        subprocess.Popen(
            [*TAMIS, "beat", "--loglevel=DEBUG"],
            cwd=REPOSITORY,
            env=environ(url, directory),
            stdout=output,
            stderr=output,
        ) as beat,
    ):
        try:
            wait_until(lambda: "Sending due task" in log.read_text(), "a tick", story=log.read_text)
        finally:
            beat.terminate()
    return log.read_text()


def test_a_fleet_runs_a_whole_job_as_the_shipped_user_over_tls(secured: Secured, nodes: Nodes) -> None:
    run, url = submit_small_files(nodes), secured.url()
    for role, *queues in (("results", "results", "control"), ("io", "io"), ("gpu", gpu_queue("n1"), "gpu")):
        nodes.start("n1", role, *queues, TAMIS_BROKER_URL=url).wait_until_ready()
    nodes.send(TaskName.FEED, run.run_id)
    wait_until(
        lambda: nodes.is_complete(run),
        "the run is complete",
        story=nodes.fleet.story,
    )
    ping, conf = tamis(url, nodes.root, "inspect", "ping"), tamis(url, nodes.root, "inspect", "conf")
    runs = tamis(url, nodes.root, "runs")
    assert (ping.returncode, ping.stdout.count("pong")) == (0, 3), ping.stdout + ping.stderr
    assert run.run_id in runs.stdout, runs.stderr
    assert "broker_url" in conf.stdout
    said = (
        conf.stdout
        + ticks(url, nodes.root)
        + "".join(worker.log() for worker in nodes.fleet.workers)
        + ping.stdout
        + runs.stdout
    )
    assert secured.server.client().acl_log() == []
    assert PASSWORD not in said


@pytest.mark.parametrize(
    "command",
    [("FLUSHALL",), ("KEYS", "*"), ("CONFIG", "GET", "*"), ("GET", "other"), ("SHUTDOWN",), ("ACL", "LIST")],
    ids=" ".join,
)
@pytest.mark.parametrize("user", ["fleet", "scaler"])
def test_a_shipped_user_cannot_change_the_server_or_use_other_keys(
    secured: Secured, user: str, command: tuple[str, ...]
) -> None:
    with secured.client(user) as client, pytest.raises(redis.exceptions.NoPermissionError):
        client.execute_command(*command)


def test_the_scaler_reads_the_lengths_of_queues_and_no_messages(secured: Secured) -> None:
    with secured.client("scaler") as client:
        assert client.llen("tamis:io") == 0
        with pytest.raises(redis.exceptions.NoPermissionError):
            client.lrange("tamis:io", 0, 0)


def test_the_default_user_is_off() -> None:
    assert "user default off" in USERS.read_text().splitlines()


@pytest.mark.parametrize("wrong", ["password", "authority"])
def test_a_refused_connection_is_reported_in_one_line(secured: Secured, tmp_path: Path, wrong: str) -> None:
    url = secured.url(password="wr-0-ng") if wrong == "password" else secured.url().partition("?")[0]
    answer = tamis(url, tmp_path, "runs")
    assert answer.returncode == 2
    assert len(answer.stderr.splitlines()) == 1
    reason = {"password": "invalid username-password pair", "authority": "certificate verify failed"}[wrong]
    assert reason in answer.stderr
    assert "wr-0-ng" not in answer.stderr
