"""Snapshots that end, change, are read by a forked child, or arrive damaged."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing

import pytest

from storage.errors import Unavailable, UsageError
from storage.tables.odps.input import OdpsInput
from storage.tables.protocol import InputTable
from storage.uri import TableUrl
from tests.servers.faults import Rule, WireFault
from tests.servers.odps.server import OdpsServer
from tests.unit.storage.tables.odps.odps_service import ROOT, Service, odps_server
from tests.unit.storage.tables.table_rows import record_of

ROWS = 300
RECORDS = [record_of(number, info='{"k":"é映"}') for number in range(ROWS)]


@pytest.fixture
def service() -> Iterator[Service]:
    with odps_server() as running:
        assert running.server is not None
        running.server.create_table("videos", dict.fromkeys(RECORDS[0], "string"), partitions={"ds": "string"})
        running.server.insert("videos", RECORDS, "ds=1")
        yield running


@pytest.fixture
def server(service: Service) -> OdpsServer:
    assert service.server is not None
    return service.server


@pytest.fixture
def table(service: Service) -> Iterator[InputTable]:
    url = TableUrl.parse(f"odps://{service.project}/videos/ds=1")
    with closing(OdpsInput(url, service.connection())) as opened:
        yield opened


@pytest.mark.parametrize("is_forgotten", [False, True])
def test_a_snapshot_that_has_ended_is_taken_again(table: InputTable, server: OdpsServer, is_forgotten: bool) -> None:
    for start in (0, 100, 290):
        server.expire_sessions(is_forgotten=is_forgotten)
        assert table.read_rows(start, 50) == RECORDS[start : start + 50]


def test_rows_added_during_the_run_do_not_move_the_others(table: InputTable, server: OdpsServer) -> None:
    server.insert("videos", [record_of(999)], "ds=1")
    assert table.count_rows() == ROWS
    assert table.read_rows(ROWS - 1, 5) == RECORDS[-1:]


def test_a_partition_that_changed_under_the_run_is_a_clear_error(table: InputTable, server: OdpsServer) -> None:
    server.insert("videos", [record_of(999)], "ds=1")
    server.expire_sessions()
    with pytest.raises(UsageError, match=r"changed while it was read: it had 300 rows, now 301"):
        table.read_rows(0, 10)


@pytest.mark.parametrize("kind", ["reset", "truncate", "flip", "lose_reply"])
def test_damaged_rows_are_read_again(table: InputTable, server: OdpsServer, kind: str) -> None:
    server.faults.add(Rule(WireFault(kind), r"^GET .*rowrange=", times=3))  # type: ignore[arg-type]  # one of the kinds
    assert table.read_rows(0, ROWS) == RECORDS
    assert server.faults.injected() == 3


def test_rows_that_always_arrive_damaged_raise_unavailable(table: InputTable, server: OdpsServer) -> None:
    server.faults.add(Rule(WireFault("flip"), r"^GET .*rowrange="))
    with pytest.raises(Unavailable, match=r"rows 0…9 could not be read"):
        table.read_rows(0, 10)


FORKING = """
import os, sys
from storage.aliyun.credentials import Credentials, StaticProvider
from storage.tables.odps.connection import OdpsConnection
from storage.tables.open import open_input

url, endpoint, access_id, secret = sys.argv[1:]
table = open_input(url, OdpsConnection(endpoint, StaticProvider(Credentials(access_id, secret)), endpoint))

def is_right():
    return all(table.read_rows(start, 3)[0]["video_id"] == f"v{start}" for start in range(40))

assert is_right()
child = os.fork()
answer = is_right()
if child == 0:
    os._exit(0 if answer else 1)
assert answer
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
"""


def test_a_forked_child_opens_connections_of_its_own(service: Service) -> None:
    arguments = [f"odps://{service.project}/videos/ds=1", service.endpoint]
    keys = [service.keys.access_key_id, service.keys.access_key_secret]
    program = [sys.executable, "-W", "error", "-c", FORKING, *arguments, *keys]
    done = subprocess.run(program, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr


def test_an_empty_partition_has_no_rows(service: Service, server: OdpsServer) -> None:
    server.insert("videos", [], "ds=2")
    url = TableUrl.parse(f"odps://{service.project}/videos/ds=2")
    with closing(OdpsInput(url, service.connection())) as empty:
        assert (empty.count_rows(), empty.read_rows(0, 10)) == (0, [])
