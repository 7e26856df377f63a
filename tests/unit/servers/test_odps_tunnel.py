"""The tunnel of the MaxCompute test server, used by the unmodified SDK: snapshots, blocks, commits, upserts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime

import pyarrow as pa
import pytest
from odps import ODPS, errors
from odps.tunnel import TableTunnel

from tests.servers.faults import Rule, WireFault
from tests.servers.odps.refusals import refusal_fault
from tests.servers.odps.server import OdpsServer

COLUMNS = {"video_id": "string", "n": "bigint"}
SENDS_BLOCK, COMMITS, READS = r"^PUT .*blockid=", r"^POST .*uploadid=", r"^GET .*rowrange="


@pytest.fixture
def clock() -> list[float]:
    return [0.0]


@pytest.fixture
def server(clock) -> Iterator[OdpsServer]:
    with OdpsServer(now=lambda: clock[0]) as server:
        server.create_table("videos", COLUMNS, partitions={"ds": "string"})
        yield server


@pytest.fixture
def tunnel(server) -> TableTunnel:
    return TableTunnel(ODPS(server.access_id, server.secret, server.project, server.endpoint))


def rows(*video_ids: str) -> list[dict[str, object]]:
    return [{"video_id": video_id, "n": n} for n, video_id in enumerate(video_ids)]


def video_ids(server: OdpsServer, partition: str = "ds=1", table: str = "videos") -> list[object]:
    return [row["video_id"] for row in server.rows(table, partition)]


def read(session, *, is_arrow: bool = False, start: int = 0, count: int | None = None, columns=None):
    count = session.count - start if count is None else count
    if is_arrow:
        with session.open_arrow_reader(start, count, columns=columns) as reader:
            return [tuple(row.values()) for row in reader.read().to_pylist()]
    with session.open_record_reader(start, count, columns=columns, append_partitions=False) as reader:
        return [tuple(record.values) for record in reader]


def send(session, written: Sequence[str], *, block_id: int | None = None, is_arrow: bool = False) -> None:
    if is_arrow:
        with session.open_arrow_writer(block_id) as writer:
            writer.write(pa.table({"video_id": list(written), "n": list(range(len(written)))}))
        return
    with session.open_record_writer(block_id) as writer:
        for n, video_id in enumerate(written):
            writer.write(session.new_record([video_id, n]))


def upload(tunnel: TableTunnel, **options):
    return tunnel.create_upload_session("videos", "ds=1", create_partition=True, **options)


both_formats = pytest.mark.parametrize("is_arrow", [False, True], ids=["protobuf", "arrow"])


@both_formats
def test_every_type_is_downloaded_as_it_was_uploaded(server, tunnel, is_arrow):
    kinds = {"s": "string", "i": "bigint", "d": "double", "b": "boolean", "t": "datetime", "j": "int", "z": "timestamp"}
    server.create_table("kinds", kinds)
    at = datetime(2025, 1, 15, 12, 30, 5, 250_000, tzinfo=UTC)
    value = {"s": "ü", "i": -(2**62), "d": 0.1, "b": True, "t": at, "j": -7, "z": at}
    given = [value, dict.fromkeys(kinds), value | {"s": "", "i": 0, "b": False, "d": -0.0}]
    server.insert("kinds", given)
    session = tunnel.create_download_session("kinds")
    up = tunnel.create_upload_session("kinds", overwrite=True)
    if is_arrow:
        with session.open_arrow_reader(0, 3) as reader, up.open_arrow_writer(0) as writer:
            writer.write(reader.read())
    else:
        with session.open_record_reader(0, 3) as reader, up.open_record_writer(0) as writer:
            for record in reader:
                writer.write(record)
    up.commit([0])
    assert server.rows("kinds") == given


def test_a_string_may_be_any_bytes(server, tunnel):
    server.create_table("raw", {"content": "string"})
    server.insert("raw", [{"content": b"\xff\x00"}])
    session = tunnel.create_upload_session("raw")
    with session.open_arrow_writer(0) as writer:
        writer.write(pa.record_batch([pa.array([b"\xfe"], pa.binary()).view(pa.string())], names=["content"]))
    session.commit([0])
    assert [row["content"] for row in server.rows("raw")] == [b"\xff\x00", b"\xfe"]
    with tunnel.create_download_session("raw").open_arrow_reader(0, 2) as reader:
        assert reader.read()["content"].cast("binary").to_pylist() == [b"\xff\x00", b"\xfe"]


@both_formats
def test_a_range_of_rows_and_some_columns_are_read(server, tunnel, is_arrow):
    server.insert("videos", rows(*"abcdef"), "ds=1")
    session = tunnel.create_download_session("videos", partition_spec="ds=1")
    assert session.count == 6
    assert read(session, is_arrow=is_arrow, start=2, count=3) == [("c", 2), ("d", 3), ("e", 4)]
    assert read(session, is_arrow=is_arrow, start=5, columns=["n", "video_id"]) == [(5, "f")]
    assert read(session, is_arrow=is_arrow, start=4, columns=["n"]) == [(4,), (5,)]


@both_formats
def test_many_rows_travel_in_many_chunks(server, tunnel, is_arrow):
    written = [f"{n:064}" for n in range(10_000)]
    session = upload(tunnel)
    send(session, written, block_id=0, is_arrow=is_arrow)
    session.commit([0])
    session = tunnel.create_download_session("videos", partition_spec="ds=1")
    assert read(session, is_arrow=is_arrow) == [(video_id, n) for n, video_id in enumerate(written)]


def test_a_range_beyond_the_rows_is_refused(server, tunnel):
    server.insert("videos", rows("a"), "ds=1")
    session = tunnel.create_download_session("videos", partition_spec="ds=1")
    with pytest.raises(errors.ODPSError) as caught:
        read(session, start=0, count=2)
    assert caught.value.code == "InvalidRowRange"


def test_a_download_session_is_a_snapshot(server, tunnel):
    server.insert("videos", rows("a", "b"), "ds=1")
    session = tunnel.create_download_session("videos", partition_spec="ds=1")
    server.insert("videos", rows("later"), "ds=1")
    send(again := upload(tunnel, overwrite=True), ["instead"], block_id=0)
    again.commit([0])
    same = tunnel.create_download_session("videos", partition_spec="ds=1", download_id=session.id)
    assert read(same) == [("a", 0), ("b", 1)]
    assert read(tunnel.create_download_session("videos", partition_spec="ds=1")) == [("instead", 0)]


def test_a_session_is_expired_after_a_day(server, tunnel, clock):
    server.insert("videos", rows("a"), "ds=1")
    down, up = tunnel.create_download_session("videos", partition_spec="ds=1"), upload(tunnel)
    clock[0] += 24 * 3600 + 1
    down.reload()
    assert down.status.name == "Expired"
    with pytest.raises(errors.ODPSError, match="session is expired"):
        read(down)
    up.reload()
    assert up.status.name == "Expired"
    with pytest.raises(errors.ODPSError, match="session is expired"):
        send(up, ["a"], block_id=0)


def test_a_test_can_expire_or_delete_sessions(server, tunnel):
    server.insert("videos", rows("a"), "ds=1")
    down, up = tunnel.create_download_session("videos", partition_spec="ds=1"), upload(tunnel)
    server.expire_sessions()
    down.reload()
    assert down.status.name == "Expired"
    assert read(tunnel.create_download_session("videos", partition_spec="ds=1")) == [("a", 0)]
    server.expire_sessions(is_forgotten=True)
    for session, code in ((down, "NoSuchDownload"), (up, "NoSuchUpload")):
        with pytest.raises(errors.ODPSError) as caught:
            session.reload()
        assert caught.value.code == code


@pytest.mark.parametrize("opens", ["create_download_session", "create_upload_session"])
def test_a_missing_table_partition_or_column_is_named(tunnel, opens):
    with pytest.raises(errors.NoSuchPartition):
        getattr(tunnel, opens)("videos", partition_spec="ds=1")
    with pytest.raises(errors.NoSuchObject):
        getattr(tunnel, opens)("nothing")
    for spec, code in ((None, "MissingPartitionSpec"), ("dt=1", "InvalidPartitionSpec")):
        with pytest.raises(errors.ODPSError) as caught:
            getattr(tunnel, opens)("videos", partition_spec=spec)
        assert caught.value.code == code


@both_formats
def test_blocks_are_visible_only_after_the_commit(server, tunnel, is_arrow):
    session = upload(tunnel)
    send(session, ["c"], block_id=7, is_arrow=is_arrow)
    send(session, ["a", "b"], block_id=2, is_arrow=is_arrow)
    assert video_ids(server) == []
    assert [int(block) for block in session.get_block_list()] == [2, 7]
    session.commit([2, 7])
    assert video_ids(server) == ["a", "b", "c"]
    assert session.status.name == "Closed"


@both_formats
def test_a_block_that_is_sent_again_replaces_itself(server, tunnel, is_arrow):
    session = upload(tunnel)
    send(session, ["a", "b"], block_id=0, is_arrow=is_arrow)
    send(session, ["c"], block_id=0, is_arrow=is_arrow)
    session.commit([0])
    assert video_ids(server) == ["c"]


def test_a_block_may_be_empty(server, tunnel):
    session = upload(tunnel)
    send(session, [], block_id=0)
    with session.open_arrow_writer(1):
        pass
    session.commit([0, 1])
    assert video_ids(server) == []


def test_a_commit_appends_unless_the_session_overwrites(server, tunnel):
    server.insert("videos", rows("old"), "ds=1")
    server.insert("videos", rows("other"), "ds=2")
    for video_id, overwrite, expected in (("new", False, ["old", "new"]), ("newest", True, ["newest"])):
        session = upload(tunnel, overwrite=overwrite)
        send(session, [video_id], block_id=0)
        session.commit([0])
        assert video_ids(server) == expected
    assert video_ids(server, "ds=2") == ["other"]


def test_blocks_may_be_compressed(server, tunnel):
    session = upload(tunnel, compress_algo="zlib")
    with session.open_record_writer(0, compress=True) as writer:
        writer.write(session.new_record(["a" * 1000, 1]))
    session.commit([0])
    assert video_ids(server) == ["a" * 1000]


def test_nothing_is_sent_or_committed_after_the_commit(server, tunnel):
    session = upload(tunnel)
    send(session, ["a"], block_id=0)
    session.commit([0])
    again = upload(tunnel, upload_id=session.id)
    assert again.status.name == "Closed"
    with pytest.raises(errors.ODPSError) as caught:
        again.commit([0])
    assert caught.value.code == "StatusConflict"
    with pytest.raises(errors.ODPSError, match="StatusConflict"):
        send(again, ["b"], block_id=1)
    assert video_ids(server) == ["a"]


def test_a_commit_whose_reply_is_lost_was_applied_once(server, tunnel):
    session = upload(tunnel)
    send(session, ["a"], block_id=0)
    server.faults.add(Rule(WireFault("lose_reply"), COMMITS, times=1))
    with pytest.raises(errors.ODPSError, match="StatusConflict"):  # the answer to the SDK's second attempt
        session.commit([0])
    assert video_ids(server) == ["a"]
    assert upload(tunnel, upload_id=session.id).status.name == "Closed"


def test_a_commit_into_a_partition_that_is_gone_is_refused(server, tunnel):
    session = upload(tunnel)
    send(session, ["a"], block_id=0)
    tunnel._project.odps.get_table("videos").delete_partition("ds='1'")
    with pytest.raises(errors.NoSuchPartition):
        session.commit([0])


@both_formats
def test_a_body_that_was_corrupted_in_transit_is_refused(server, tunnel, is_arrow):
    session = upload(tunnel)
    server.faults.add(Rule(WireFault("flip_upload"), SENDS_BLOCK, times=1))
    with pytest.raises(errors.ODPSError, match="CorruptedDataStream"):
        send(session, ["a" * 5000], block_id=0, is_arrow=is_arrow)
    assert session.get_block_list() == []


@both_formats
def test_rows_that_were_corrupted_in_transit_are_fetched_again(server, tunnel, is_arrow):
    server.insert("videos", rows("a" * 5000), "ds=1")
    session = tunnel.create_download_session("videos", partition_spec="ds=1")
    server.faults.add(Rule(WireFault("flip"), READS, times=1))
    assert read(session, is_arrow=is_arrow) == [("a" * 5000, 0)]
    assert server.faults.injected() == 1


@both_formats
def test_rows_with_other_columns_are_refused(server, tunnel, is_arrow):
    server.create_table("other", {"x": "double", "y": "string", "z": "string"})
    session, other = upload(tunnel), tunnel.create_upload_session("other")
    session.schema = other.schema
    writer = session.open_arrow_writer(0) if is_arrow else session.open_record_writer(0)
    writer.write(pa.table({"x": [0.5], "y": ["b"], "z": ["c"]}) if is_arrow else session.new_record([0.5, "b", "c"]))
    with pytest.raises(errors.InvalidParameter):
        writer.close()


def test_a_block_beyond_the_last_number_is_refused(tunnel):
    with pytest.raises(errors.ODPSError, match="InvalidBlockID"):
        send(upload(tunnel), ["a"], block_id=20_000)


def test_a_configured_refusal_has_a_code_of_maxcompute(server, tunnel):
    session = upload(tunnel)
    send(session, ["a"], block_id=0)
    server.faults.add(Rule(refusal_fault(400, "MetaTransactionFailed"), COMMITS, times=1))
    with pytest.raises(errors.ODPSError) as caught:
        session.commit([0])
    assert caught.value.code == "MetaTransactionFailed"
    session.commit([0])
    assert video_ids(server) == ["a"]


def test_a_request_over_quota_is_repeated_and_succeeds(server, tunnel):
    server.insert("videos", rows("a"), "ds=1")
    server.faults.add(Rule(refusal_fault(429, "FlowExceeded"), r"^POST .*downloads", times=1))
    assert read(tunnel.create_download_session("videos", partition_spec="ds=1")) == [("a", 0)]
