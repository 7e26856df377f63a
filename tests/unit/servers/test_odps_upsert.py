"""Upserts into a Delta table of the MaxCompute test server, by the unmodified SDK."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from odps import ODPS, errors
from odps.tunnel import TableTunnel

from tests.servers.faults import Rule, WireFault
from tests.servers.odps.server import OdpsServer

COLUMNS = {"video_id": "string", "n": "bigint", "score": "double"}


@pytest.fixture
def server() -> Iterator[OdpsServer]:
    with OdpsServer() as server:
        server.create_table("videos", COLUMNS, partitions={"ds": "string"}, primary_key=["video_id"])
        server.insert("videos", [{"video_id": "old", "n": 0}], "ds=1")
        server.insert("videos", [{"video_id": "a", "n": 99}], "ds=2")
        yield server


@pytest.fixture
def odps(server) -> ODPS:
    return ODPS(server.access_id, server.secret, server.project, server.endpoint)


@pytest.fixture
def session(odps) -> Iterator[object]:
    session = TableTunnel(odps).create_upsert_session("videos", partition_spec="ds=1")
    yield session
    session.close()


def send(session, upserted=(), deleted=()) -> None:
    with session.open_upsert_stream() as stream:
        for video_id, n in upserted:
            stream.upsert(session.new_record([video_id, n, 0.5]))
        for video_id in deleted:
            stream.delete(session.new_record([video_id, None, None]))


def numbers(server: OdpsServer, ds: str = "1") -> dict[object, object]:
    found = server.rows("videos", f"ds={ds}")
    assert len({row["video_id"] for row in found}) == len(found)
    return {row["video_id"]: row["n"] for row in found}


def test_the_last_row_of_each_key_stays(server, session):
    send(session, [("a", 1), ("b", 2), ("a", 3), ("old", 4)])
    assert numbers(server) == {"old": 0}
    session.commit()
    assert session.status.name == "Committed"
    assert numbers(server) == {"old": 4, "a": 3, "b": 2}
    assert numbers(server, "2") == {"a": 99}


def test_a_deleted_key_is_gone(server, session):
    send(session, [("a", 1)], deleted=["old", "never was"])
    session.commit()
    assert numbers(server) == {"a": 1}


def test_the_same_rows_upserted_again_change_nothing(server, odps, session):
    send(session, [("a", 1), ("b", 2)])
    session.commit()
    again = TableTunnel(odps).create_upsert_session("videos", partition_spec="ds=1")
    send(again, [("a", 1), ("b", 2)])
    again.commit()
    assert numbers(server) == {"old": 0, "a": 1, "b": 2}


def test_a_commit_whose_reply_is_lost_may_be_repeated(server, session):
    send(session, [("a", 1)])
    server.faults.add(Rule(WireFault("lose_reply"), r"^POST .*upsertid=", times=1))
    session.commit()
    assert server.faults.injected() == 1
    assert numbers(server) == {"old": 0, "a": 1}


def test_an_aborted_session_changes_nothing(server, session):
    send(session, [("a", 1)])
    session.abort()
    with pytest.raises(errors.ODPSError, match="aborted"):
        session.commit()
    assert numbers(server) == {"old": 0}


def test_a_corrupted_body_is_refused(server, session):
    server.faults.add(Rule(WireFault("flip_upload"), r"^PUT .*upsertid=", times=1))
    with pytest.raises(errors.ODPSError, match="CorruptedDataStream"):
        send(session, [("a" * 5000, 1)])


def test_a_session_that_expired_takes_nothing(server, session):
    server.expire_sessions()
    with pytest.raises(errors.ODPSError, match="expired"):
        send(session, [("a", 1)])


def test_a_delta_table_is_read_by_select_and_not_by_the_tunnel(odps):
    with pytest.raises(errors.MethodNotAllowed):
        TableTunnel(odps).create_download_session("videos", partition_spec="ds=1")
    with odps.get_table("videos").open_reader(partition="ds=1") as reader:
        assert [list(record.values) for record in reader] == [["old", 0, None, "1"]]


def test_a_delta_table_is_not_overwritten_through_the_tunnel(odps):
    with pytest.raises(errors.OverwriteModeNotAllowed):
        TableTunnel(odps).create_upload_session("videos", "ds=1", overwrite=True)


def test_only_a_table_with_a_key_in_a_partition_that_exists_is_upserted(server, odps):
    server.create_table("plain", COLUMNS)
    with pytest.raises(errors.InvalidArgument):
        TableTunnel(odps).create_upsert_session("plain")
    with pytest.raises(errors.NoSuchPartition):
        TableTunnel(odps).create_upsert_session("videos", partition_spec="ds=3")
