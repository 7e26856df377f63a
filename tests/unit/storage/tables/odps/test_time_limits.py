"""Time limits for a service that is busy, down or slow; no message, repr or log shows a key."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace

import pytest

from storage.aliyun.credentials import Credentials, StaticProvider
from storage.errors import Unavailable, UsageError
from storage.records import INPUT_COLUMNS
from storage.tables.odps.client import RenewedAccount
from storage.tables.odps.connection import OdpsConnection, OdpsTimeLimits
from storage.tables.open import open_input, open_output
from tests.servers.faults import Rule, WireFault
from tests.servers.odps.refusals import refusal_fault
from tests.servers.odps.server import OdpsServer
from tests.unit.storage.tables.odps.odps_service import Service, odps_server
from tests.unit.storage.tables.table_rows import record_of

SHORT = OdpsTimeLimits(
    retry_seconds=0.3,
    first_wait_seconds=0.001,
    longest_wait_seconds=0.05,
    read_timeout_seconds=0.5,
    statement_seconds=0.2,
)


@pytest.fixture
def service() -> Iterator[Service]:
    with odps_server() as running:
        assert running.server is not None
        running.server.create_table("videos", dict.fromkeys(INPUT_COLUMNS, "string"), partitions={"ds": "string"})
        running.server.insert("videos", [record_of(number) for number in range(10)], "ds=1")
        yield replace(running, limits=SHORT)


@pytest.fixture
def server(service: Service) -> OdpsServer:
    assert service.server is not None
    return service.server


@pytest.mark.parametrize("status", [308, 429, 500, 503])
@pytest.mark.parametrize("pattern", ["tables/videos", "downloads="])
def test_a_service_that_stays_busy_raises_unavailable_within_the_limits(
    service: Service, server: OdpsServer, status: int, pattern: str
) -> None:
    server.faults.add(Rule(refusal_fault(status, "FlowExceeded"), pattern))
    with pytest.raises(Unavailable, match="MaxCompute cannot serve now"):
        open_input(f"odps://{service.project}/videos/ds=1", service.connection())
    assert server.faults.injected()


def test_a_service_whose_replies_trickle_raises_unavailable(service: Service, server: OdpsServer) -> None:
    limited = replace(service, limits=replace(SHORT, reply_seconds=0.4))
    with closing(open_input(f"odps://{service.project}/videos/ds=1", limited.connection())) as table:
        server.faults.add(Rule(WireFault("trickle", seconds=0.01), "^GET .*download"))
        with pytest.raises(Unavailable, match="trickled for too long"):
            table.read_rows(0, 10)
        server.faults.clear()
        assert len(table.read_rows(0, 10)) == 10
    server.faults.add(Rule(WireFault("trickle", seconds=0.01)))
    with pytest.raises(Unavailable):
        open_input(f"odps://{service.project}/videos/ds=1", limited.connection())


def test_a_service_that_never_answers_raises_unavailable(service: Service, server: OdpsServer) -> None:
    server.faults.add(Rule(WireFault("hang", seconds=60)))
    with pytest.raises(Unavailable):
        open_input(f"odps://{service.project}/videos/ds=1", service.connection())


def test_a_longer_wait_than_limits_allows_is_not_begun(service: Service, server: OdpsServer) -> None:
    server.faults.add(Rule(refusal_fault(429, "FlowExceeded", retry_after_seconds=3600)))
    with pytest.raises(Unavailable):
        open_input(f"odps://{service.project}/videos/ds=1", service.connection())
    assert server.faults.injected() == 1


def test_an_endpoint_without_a_service_raises_unavailable(service: Service) -> None:
    connection = replace(service.connection(), endpoint="http://127.0.0.1:9", tunnel_endpoint=None)
    with pytest.raises(Unavailable):
        open_input("odps://sieve/videos/ds=1", connection)


def test_a_statement_that_takes_too_long_is_stopped(service: Service, server: OdpsServer) -> None:
    server.statements.polls = 10**6
    with (
        closing(open_output(f"odps://{service.project}/fresh/ds=1", service.connection())) as table,
        pytest.raises(Unavailable, match=r"a statement took over 0 s: CREATE TABLE"),
    ):
        table.prepare(())


def test_the_service_is_asked_for_its_tunnel_when_no_setting_names_it(service: Service) -> None:
    connection = replace(service.connection(), tunnel_endpoint=None)
    with closing(open_input(f"odps://{service.project}/videos/ds=1", connection)) as table:
        assert len(table.read_rows(0, 10)) == 10


def test_keys_are_read_again_at_each_request() -> None:
    with odps_server(sts_token="first-token") as service:
        assert service.server is not None
        service.server.create_table("videos", dict.fromkeys(INPUT_COLUMNS, "string"), partitions={"ds": "string"})
        service.server.insert("videos", [record_of(0)], "ds=1")
        keys = Keys(Credentials(service.keys.access_key_id, service.keys.access_key_secret, "first-token"))
        connection = OdpsConnection(service.endpoint, keys, service.endpoint, limits=SHORT)
        with closing(open_input(f"odps://{service.project}/videos/ds=1", connection)) as table:
            service.server.credentials.renew(sts_token="second-token")
            with pytest.raises((Unavailable, UsageError)) as fault:
                table.read_rows(0, 1)
            assert "first-token" not in str(fault.value)
            keys.keys = replace(keys.keys, security_token="second-token")
            assert table.read_rows(0, 1) == [record_of(0)]


class Keys:
    def __init__(self, keys: Credentials) -> None:
        self.keys = keys

    def credentials(self) -> Credentials:
        return self.keys


def test_no_key_is_in_a_message_a_repr_or_a_log(
    service: Service, server: OdpsServer, caplog: pytest.LogCaptureFixture
) -> None:
    secrets = ("the-key-id", "the-secret", "the-token")
    provider = StaticProvider(Credentials(*secrets))
    connection = OdpsConnection(service.endpoint, provider, service.endpoint, limits=SHORT)
    quoting = WireFault(
        "status",
        status=403,
        body=b"<Error><Code>NoPermission</Code><Message>the-key-id the-secret "
        b"the-token may not</Message><RequestId>1</RequestId><HostId>h</HostId></Error>",
    )
    server.faults.add(Rule(quoting))
    caplog.set_level(logging.DEBUG)
    with pytest.raises(UsageError, match="may not") as fault:
        open_input(f"odps://{service.project}/videos/ds=1", connection)
    assert fault.value.__cause__ is None
    assert fault.value.__suppress_context__
    shown = f"{fault.value} {connection!r} {RenewedAccount(provider)!r} {caplog.text}"
    assert not [secret for secret in secrets if secret in shown]
