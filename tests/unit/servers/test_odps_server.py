"""The MaxCompute test server, used by the unmodified SDK: authentication, tables, partitions, SQL."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from odps import ODPS, errors
from odps.accounts import StsAccount

from tests.servers.odps.server import OdpsServer

COLUMNS = {"video_id": "string", "score": "double", "n": "bigint"}


@pytest.fixture
def server() -> Iterator[OdpsServer]:
    with OdpsServer() as server:
        yield server


@pytest.fixture
def odps(server) -> ODPS:
    return client(server)


def client(server: OdpsServer, *, access_id: str | None = None, secret: str | None = None) -> ODPS:
    return ODPS(access_id or server.access_id, secret or server.secret, server.project, server.endpoint)


def with_token(server: OdpsServer, token: str) -> ODPS:
    return ODPS(account=StsAccount(server.access_id, server.secret, token), project=server.project,
                endpoint=server.endpoint)  # fmt: skip


def select(odps: ODPS, query: str, **options) -> list[list[object]]:
    with odps.execute_sql(query).open_reader(**options) as reader:
        return [list(record.values) for record in reader]


def test_a_signed_request_is_accepted(odps):
    assert odps.exist_project("sieve")


def test_a_wrong_secret_is_refused(server):
    with pytest.raises(errors.SignatureNotMatch):
        client(server, secret="guessed").exist_table("videos")


def test_an_unknown_access_id_is_refused(server):
    with pytest.raises(errors.InvalidParameter, match="accessKeyId not found"):
        client(server, access_id="unknown").exist_table("videos")


def test_temporary_credentials_need_their_token():
    with OdpsServer(sts_token="first") as server:
        assert with_token(server, "first").exist_project("sieve")
        with pytest.raises(errors.Unauthorized):
            client(server).exist_project("sieve")


def test_a_replaced_token_has_expired():
    with OdpsServer(sts_token="first") as server:
        server.credentials.renew(sts_token="second")
        assert with_token(server, "second").exist_project("sieve")
        with pytest.raises(errors.AuthenticationRequestExpired):
            with_token(server, "first").exist_project("sieve")


def test_another_project_does_not_exist(odps):
    assert not odps.exist_project("another")
    with pytest.raises(errors.NoSuchProject):
        odps.get_table("videos", project="another").reload()


def test_a_table_is_described_with_its_columns(server, odps):
    server.create_table("videos", COLUMNS, partitions={"ds": "string"})
    schema = odps.get_table("videos").table_schema
    assert [(one.name, one.type.name) for one in schema.simple_columns] == list(COLUMNS.items())
    assert [one.name for one in schema.partitions] == ["ds"]
    assert odps.exist_table("VIDEOS")
    assert [table.name for table in odps.list_tables()] == ["videos"]


def test_a_missing_table_is_no_such_object(odps):
    assert not odps.exist_table("videos")
    with pytest.raises(errors.NoSuchObject):
        odps.get_table("videos").reload()


def test_a_delta_table_is_described_with_its_primary_key(server, odps):
    server.create_table("plain", COLUMNS)
    server.create_table("delta", COLUMNS, primary_key=["video_id"])
    assert (odps.get_table("delta").primary_key, odps.get_table("delta").is_transactional) == (["video_id"], True)
    assert (odps.get_table("plain").primary_key, odps.get_table("plain").is_transactional) == (None, False)


def test_partitions_are_listed_with_their_rows(server, odps):
    server.create_table("videos", COLUMNS, partitions={"ds": "string", "hh": "string"})
    for spec in ("ds=2,hh=1", "ds=1,hh=1", "ds=1,hh=2"):
        server.insert("videos", [{"video_id": "a"}], spec)
    table = odps.get_table("videos")
    assert [str(one) for one in table.partitions] == ["ds='1',hh='1'", "ds='1',hh='2'", "ds='2',hh='1'"]
    assert [str(one) for one in table.iterate_partitions("ds=1")] == ["ds='1',hh='1'", "ds='1',hh='2'"]
    assert table.exist_partition("ds='1',hh='2'")
    assert not table.exist_partition("ds='3',hh='1'")
    assert table.get_partition("ds='1',hh='2'").record_num == 1
    assert table.get_partition("ds='1',hh='2'").physical_size > 0
    with pytest.raises(errors.NoSuchPartition):
        table.get_partition("ds='3',hh='1'").reload()


def test_a_table_is_created_and_dropped_by_sql(server, odps):
    table = odps.create_table("videos", ("video_id string COMMENT 'a, (b', n bigint", "ds string"))
    assert [one.name for one in table.table_schema.columns] == ["video_id", "n", "ds"]
    with pytest.raises(errors.ODPSError, match="already exists"):
        odps.create_table("videos", "other string")
    odps.create_table("videos", "other string", if_not_exists=True)
    assert odps.get_table("videos").table_schema.names == ["video_id", "n"]
    odps.delete_table("videos")
    assert not odps.exist_table("videos")
    with pytest.raises(errors.NoSuchTable):
        odps.delete_table("videos")
    odps.delete_table("videos", if_exists=True)


def test_a_delta_table_is_created_by_sql(odps):
    table = odps.create_table("videos", "video_id string NOT NULL, n bigint", primary_key=["video_id"],
                              transactional=True)  # fmt: skip
    assert (table.primary_key, table.is_transactional) == (["video_id"], True)


def test_a_primary_key_must_not_be_null_and_needs_a_transactional_table(odps):
    with pytest.raises(errors.ODPSError, match="NOT NULL"):
        odps.create_table("nullable", "video_id string", primary_key=["video_id"], transactional=True)
    with pytest.raises(errors.ODPSError, match="transactional"):
        odps.create_table("plain", "video_id string NOT NULL", primary_key=["video_id"])


def test_partitions_are_added_and_dropped_by_sql(server, odps):
    server.create_table("videos", COLUMNS, partitions={"ds": "string"})
    table = odps.get_table("videos")
    table.create_partition("ds='1'")
    table.create_partition("ds='1'", if_not_exists=True)
    with pytest.raises(errors.ODPSError, match="already exists"):
        table.create_partition("ds='1'")
    server.insert("videos", [{"video_id": "a"}], "ds=1")
    table.delete_partition("ds='1'")
    table.delete_partition("ds='1'", if_exists=True)
    assert server.partitions("videos") == []
    table.create_partition("ds='1'")
    assert server.rows("videos", "ds=1") == []


def test_truncating_empties_one_partition_or_all(server, odps):
    server.create_table("videos", COLUMNS, partitions={"ds": "string"})
    for ds in "123":
        server.insert("videos", [{"video_id": "a"}], f"ds={ds}")
    odps.get_table("videos").truncate("ds=1")
    assert [len(server.rows("videos", f"ds={ds}")) for ds in "123"] == [0, 1, 1]
    odps.get_table("videos").truncate()
    assert [len(server.rows("videos", f"ds={ds}")) for ds in "123"] == [0, 0, 0]


def test_a_select_returns_rows(server, odps):
    server.create_table("videos", COLUMNS, partitions={"ds": "string"})
    server.insert("videos", [{"video_id": 'a "b", ü', "n": 1}, {"video_id": "c", "score": 0.5}], "ds=1")
    query = "SELECT video_id, score, n, ds FROM sieve.`videos` WHERE ds='1' ORDER BY n DESC"
    assert select(odps, query) == [['a "b", ü', None, 1, "1"], ["c", 0.5, None, "1"]]
    with_numbers_as_text = [['a "b", ü', None, "1", "1"], ["c", "0.5", None, "1"]]  # CSV has no types
    assert select(odps, query, tunnel=False) == with_numbers_as_text


@pytest.mark.parametrize("name", ["videos", "`videos`", "sieve.videos", "`sieve`.`videos`", "sieve.`videos`"])
def test_a_table_may_be_named_with_its_project(server, odps, name):
    server.create_table("videos", COLUMNS, partitions={"ds": "string"})
    odps.execute_sql(f"INSERT INTO TABLE {name} PARTITION (`ds`='1') VALUES ('sieve.videos', 0.5, 1)")
    assert select(odps, f"SELECT v.video_id FROM {name} v WHERE `ds` = '1'") == [["sieve.videos"]]


def test_rows_are_counted_and_json_is_read_by_sql(server, odps):
    server.create_table("videos", {"info": "string"})
    server.insert("videos", [{"info": '{"a": {"b": [1, "x"]}}'}, {"info": "no json"}, {"info": None}])
    assert select(odps, "SELECT COUNT(*) FROM videos") == [[3]]
    query = "SELECT GET_JSON_OBJECT(info, '$.a.b[1]') AS x, GET_JSON_OBJECT(info, '$.a.b') AS b FROM videos"
    assert select(odps, query) == [["x", '[1,"x"]'], [None, None], [None, None]]


def test_literals_have_maxcomputes_values(server, odps):
    server.create_table("videos", {"video_id": "string"})
    server.insert("videos", [{"video_id": "it's"}, {"video_id": "1.0"}])
    assert select(odps, r"SELECT CAST(video_id AS STRING) AS v FROM videos WHERE video_id = 'it\'s'") == [["it's"]]
    assert select(odps, 'SELECT CAST(video_id AS STRING) AS v FROM videos WHERE video_id = "1.0"') == [["1.0"]]


def test_a_statement_that_fails_gives_the_reason(server, odps):
    server.create_table("videos", COLUMNS)
    with pytest.raises(errors.NoSuchTable):
        odps.execute_sql("SELECT * FROM nowhere")
    with pytest.raises(errors.ODPSError, match=r"ODPS-0130071.*absent"):
        odps.execute_sql("SELECT absent FROM videos")
    with pytest.raises(errors.ParseError):
        odps.execute_sql("SELEC 1")


def test_a_partitioned_table_is_not_scanned_whole_unless_allowed(server, odps):
    server.create_table("videos", COLUMNS, partitions={"ds": "string"})
    with pytest.raises(errors.ODPSError, match="full scan with all partitions"):
        odps.execute_sql("SELECT ds, COUNT(*) FROM videos GROUP BY ds")
    odps.execute_sql("SELECT ds, COUNT(*) FROM videos GROUP BY ds", hints={"odps.sql.allow.fullscan": "true"})


def test_insert_overwrite_replaces_a_partition_with_the_newest_row_of_each_video(server, odps):
    server.create_table("staged", COLUMNS, partitions={"ds": "string", "batch": "string"})
    server.create_table("videos", COLUMNS, partitions={"ds": "string"})
    server.insert("videos", [{"video_id": "old"}], "ds=1")
    server.insert("videos", [{"video_id": "other"}], "ds=2")
    server.insert("staged", [{"video_id": "a", "n": 1}, {"video_id": "b", "n": 5}], "ds=1,batch=x")
    server.insert("staged", [{"video_id": "a", "n": 2}], "ds=1,batch=y")
    odps.execute_sql("""
        INSERT OVERWRITE TABLE videos PARTITION (ds='1')
        SELECT video_id, score, n FROM (
          SELECT *, ROW_NUMBER() OVER (PARTITION BY video_id ORDER BY n DESC) AS place FROM staged WHERE ds='1'
        ) ranked WHERE place = 1;
    """)
    assert sorted((row["video_id"], row["n"]) for row in server.rows("videos", "ds=1")) == [("a", 2), ("b", 5)]
    assert len(server.rows("videos", "ds=2")) == 1


def test_an_insert_that_fails_changes_nothing(server, odps):
    server.create_table("videos", COLUMNS, partitions={"ds": "string"})
    server.insert("videos", [{"video_id": "old"}], "ds=1")
    with pytest.raises(errors.ODPSError, match="wrong columns count 1"):
        odps.execute_sql("INSERT OVERWRITE TABLE videos PARTITION (ds='1') SELECT 'new'")
    with pytest.raises(errors.NoSuchTable):
        odps.execute_sql("INSERT OVERWRITE TABLE videos PARTITION (ds='1') SELECT a, b, c FROM nowhere")
    assert [row["video_id"] for row in server.rows("videos", "ds=1")] == ["old"]


def test_insert_into_appends_and_makes_the_partition(server, odps):
    server.create_table("videos", COLUMNS, partitions={"ds": "string"})
    odps.execute_sql("INSERT INTO videos PARTITION (ds='1') VALUES ('a', 0.5, 1), ('b', NULL, 2)")
    odps.execute_sql("INSERT INTO TABLE videos PARTITION (ds='1') VALUES ('c', 1, 3)")
    assert [row["video_id"] for row in server.rows("videos", "ds=1")] == ["a", "b", "c"]
    assert server.rows("videos", "ds=1")[2]["score"] == 1.0


def test_a_statement_may_run_for_a_while_and_be_stopped(server, odps):
    server.create_table("videos", COLUMNS)
    server.statements.polls = 3
    slow = odps.run_sql("INSERT INTO videos VALUES ('a', 0.5, 1)")
    assert not slow.is_terminated()
    assert server.rows("videos") == []
    while not slow.is_terminated():
        pass
    assert slow.is_successful()
    assert len(server.rows("videos")) == 1
    stopped = odps.run_sql("INSERT INTO videos VALUES ('b', 0.5, 1)")
    stopped.stop()
    assert stopped.is_terminated()
    assert not stopped.is_successful()
    assert len(server.rows("videos")) == 1
