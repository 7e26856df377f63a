"""A worker whose clock is off warns or takes no messages; a machine or a worker whose name is used twice is named."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import redis

from storage.errors import UsageError
from storage.ledger import HostReports, HostWarning
from tasks.cli.doctor import check_hosts
from tasks.settings import Settings
from tasks.worker.host_checks import CHECKS_PER_LOG, HostChecks, start_announcements, start_host_checks
from tests.valkey import valkey_server

LIMIT_SECONDS = 4.0  # half of the default visibility timeout


@pytest.fixture(scope="module")
def shared() -> Iterator[redis.Redis]:
    with valkey_server() as server, server.client() as client:
        yield client


@pytest.fixture
def client(shared: redis.Redis) -> redis.Redis:
    shared.flushall()
    return shared


Checks = Callable[..., HostChecks]


@pytest.fixture
def checks(client: redis.Redis, tmp_path: Path) -> Checks:
    def checks(offset_seconds: float = 0.0, worker: str = "io@n1", url: str = "", **options: str) -> HostChecks:
        environ = {"TAMIS_STATE_DIR": str(tmp_path), "TAMIS_NODE": "n1"} | ({"TAMIS_BROKER_URL": url} if url else {})
        hosts = HostReports(client, clock=lambda: time.time() + offset_seconds)
        return HostChecks(hosts, Settings.from_env(environ), worker, end=lambda: ended.append(worker), **options)

    ended: list[str] = []
    checks.ended = ended  # type: ignore[attr-defined]  # for the tests of the worker's end
    return checks


@pytest.mark.parametrize("offset_seconds", [LIMIT_SECONDS + 1, -LIMIT_SECONDS - 1])
def test_a_clock_off_by_half_the_visibility_timeout_starts_no_worker(checks: Checks, offset_seconds: float) -> None:
    side = "ahead of" if offset_seconds > 0 else "behind"
    with pytest.raises(UsageError, match=rf"io@n1 takes no messages: its clock is 5\.0 s {side}.* limit is 4 s"):
        checks(offset_seconds).check_start()


@pytest.mark.parametrize("offset_seconds", [0.0, 2.0, -2.0])
def test_a_clock_within_the_limit_starts_the_worker(checks: Checks, offset_seconds: float) -> None:
    checks(offset_seconds).check_start()


def test_rabbitmq_compares_no_clocks_so_the_worker_starts_and_warns(checks: Checks, client: redis.Redis) -> None:
    distant = checks(60.0, url="amqp://host//")
    distant.check_start()
    distant.run()
    assert [warning.text for warning in HostReports(client).warnings()] == [
        "its clock is 60.0 s ahead of the ledger's server"
    ]


def test_a_clock_that_is_off_is_logged_now_and_then_and_shown_by_doctor(
    checks: Checks, client: redis.Redis, caplog: pytest.LogCaptureFixture
) -> None:
    slow = checks(-2.0)
    with caplog.at_level(logging.WARNING):
        for _ in range(CHECKS_PER_LOG):
            slow.run()
    assert caplog.text.count("its clock is 2.0 s behind the ledger's server; synchronise") == 2
    own, worker = check_hosts(HostReports(client))
    assert (own.is_well, worker.is_well, worker.subject) == (True, False, "io@n1")
    assert "chrony" in worker.remedy
    ahead, *_ = check_hosts(HostReports(client, clock=lambda: time.time() + 60))
    assert (ahead.is_well, ahead.found) == (False, "its clock is 60.0 s ahead of the ledger's server")


def test_a_clock_that_jumps_ends_the_worker_once(checks: Checks, caplog: pytest.LogCaptureFixture) -> None:
    jumped = checks(LIMIT_SECONDS + 1)
    jumped.run()
    jumped.run()
    assert checks.ended == ["io@n1"]  # type: ignore[attr-defined]  # see the fixture
    assert caplog.text.count("io@n1 ends: its clock is 5.0 s ahead") == 1


def test_two_machines_with_one_node_name_are_both_warned(checks: Checks, client: redis.Redis) -> None:
    twins = [checks(worker=f"{name}@n1", machine=name) for name in ("io", "gpu0")]
    for _ in range(2):
        for twin in twins:
            twin.run()
    (warning,) = HostReports(client).warnings()
    assert (warning.name, warning.text) == ("n1", "another machine uses this node name")
    assert "TAMIS_NODE" in warning.remedy
    assert not [finding for finding in check_hosts(HostReports(client)) if finding.subject == "n1" and finding.is_well]


def test_two_workers_with_one_name_are_both_warned_even_on_one_machine(checks: Checks, client: redis.Redis) -> None:
    twins = [checks(machine="m", process=f"host{pid}:{pid}:x") for pid in (1, 2)]
    for _ in range(2):
        for twin in twins:
            twin.run()
    assert {warning.name for warning in HostReports(client).warnings()} == {"io@n1"}
    assert "another worker uses this name: process" in HostReports(client).warnings()[0].text


def test_the_workers_of_one_machine_and_a_restarted_worker_are_not_warned(checks: Checks, client: redis.Redis) -> None:
    before = checks(machine="m", process="host:1:x")
    before.run()
    before.run()
    for restarted in (checks(machine="m", process="host:2:y"), checks(machine="m", worker="gpu0@n1")):
        restarted.run()
        restarted.run()
    assert HostReports(client).warnings() == []


def test_tamis_up_announces_each_warning_about_its_node_once(client: redis.Redis) -> None:
    hosts, said = HostReports(client), list[str]()
    for name in ("n1", "io@n1", "n2", "io@n2"):
        hosts.warn(HostWarning(name, "its clock is 2.0 s ahead of the ledger's server", "synchronise"))
    start_announcements(hosts, "n1", said.append).set()
    assert [line.split(": ")[1] for line in said] == ["io@n1", "n1"]


def test_the_checks_run_at_once_and_survive_a_lost_server(tmp_path: Path) -> None:
    settings = Settings.from_env({"TAMIS_STATE_DIR": str(tmp_path), "TAMIS_NODE": "n1"})
    lost = HostChecks(HostReports(redis.Redis(port=1, retry=None)), settings, "io@n1")
    lost.check_start()
    start_host_checks(lost).set()
