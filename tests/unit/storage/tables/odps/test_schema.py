"""Tables whose columns do not fit are refused, and the error names every column."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import closing

import pytest

from storage.aliyun.credentials import Credentials, StaticProvider
from storage.errors import UsageError
from storage.records import INPUT_COLUMNS, OUTPUT_COLUMNS, check_input_columns
from storage.tables.odps.connection import OdpsConnection
from storage.tables.open import open_input, open_output
from tests.unit.storage.tables.odps.odps_service import Service, odps_server
from tests.unit.storage.tables.table_rows import record_of, succeeded

INPUT = dict.fromkeys(INPUT_COLUMNS, "string")
OUTPUT = dict.fromkeys(OUTPUT_COLUMNS, "string")


@pytest.fixture(scope="module")
def service() -> Iterator[Service]:
    with odps_server() as running:
        yield running


def make(service: Service, table: str, columns: Mapping[str, str], **partitions: str) -> None:
    assert service.server is not None
    service.server.create_table(table, columns, partitions=partitions or {"ds": "string"})


def url(service: Service, path: str) -> str:
    return f"odps://{service.project}/{path}"


def test_every_missing_and_every_wrong_input_column_is_named(service: Service) -> None:
    make(service, "lacking", {"video_id": "string", "info": "bigint", "video_path": "double"})
    with pytest.raises(UsageError) as fault:
        open_input(url(service, "lacking/ds=1"), service.connection())
    for text in ("lacks oss_bucket, video_tag", "info is BIGINT", "video_path is DOUBLE", "columns found: video_id"):
        assert text in str(fault.value)


def test_an_integer_video_id_is_read_as_a_number(service: Service) -> None:
    assert service.server is not None
    make(service, "numbered", INPUT | {"video_id": "bigint"})
    service.server.insert("numbered", [{**record_of(0), "video_id": 7}], "ds=1")
    with closing(open_input(url(service, "numbered/ds=1"), service.connection())) as table:
        assert table.read_rows(0, 1)[0]["video_id"] == 7


def test_values_of_other_types_are_read_as_json_values(service: Service) -> None:
    assert service.server is not None
    extras = {"n": "bigint", "x": "double", "flag": "boolean", "at": "datetime", "odd": "string"}
    make(service, "typed", INPUT | extras)
    values = {"n": 2**40, "x": 0.5, "flag": True, "at": None, "odd": b"\xffno UTF-8"}
    service.server.insert("typed", [{**record_of(0), **values}], "ds=1")
    with closing(open_input(url(service, "typed/ds=1"), service.connection())) as table:
        assert check_input_columns(table.columns, table.url) == tuple(extras)
        row = table.read_rows(0, 1)[0]
    assert [row[name] for name in extras] == [2**40, 0.5, True, None, "\\xffno UTF-8"]


def test_every_level_of_the_partition_must_be_named(service: Service) -> None:
    make(service, "levels", INPUT, ds="string", region="string")
    for path in ("levels", "levels/ds=1", "levels/ds=1/region=cn/hour=1"):
        with pytest.raises(UsageError, match=r"partition columns are /ds=…/region=…, the URL names .*Name them all"):
            open_input(url(service, path), service.connection())


def test_partition_columns_of_a_url_may_be_in_any_order(service: Service) -> None:
    assert service.server is not None
    make(service, "two_levels", INPUT, region="string", ds="string")
    service.server.insert("two_levels", [record_of(0)], "region=cn,ds=1")
    with closing(open_input(url(service, "two_levels/ds=1/region=cn"), service.connection())) as table:
        assert table.read_rows(0, 5) == [record_of(0)]
        assert table.url == url(service, "two_levels/ds=1/region=cn")


def test_a_missing_partition_is_named(service: Service) -> None:
    make(service, "parted", INPUT)
    with pytest.raises(UsageError, match=r"there is no partition ds=2\."):
        open_input(url(service, "parted/ds=2"), service.connection())


def test_a_delta_table_has_no_order_to_number_rows_by(service: Service) -> None:
    assert service.server is not None
    service.server.create_table("keyed", INPUT, partitions={"ds": "string"}, primary_key=("video_id",))
    with pytest.raises(UsageError, match="has no order to number rows by"):
        open_input(url(service, "keyed/ds=1"), service.connection())


def test_every_missing_and_every_wrong_output_column_is_named(service: Service) -> None:
    make(service, "results_lacking", dict.fromkeys(OUTPUT_COLUMNS[:4], "string") | {"info": "bigint"})
    with (
        closing(open_output(url(service, "results_lacking/ds=1"), service.connection())) as table,
        pytest.raises(
            UsageError,
            match=(
                r"lacks result_info, title; info is BIGINT .*ADD COLUMNS \(result_info STRING, title STRING\); "
                r"output columns are STRING"
            ),
        ),
    ):
        table.prepare(("title",))


def test_a_wrong_column_type_is_not_answered_with_add_columns(service: Service) -> None:
    make(service, "wrong_type", OUTPUT | {"at": "datetime"})
    with (
        closing(open_output(url(service, "wrong_type/ds=1"), service.connection())) as table,
        pytest.raises(UsageError, match=r"at is DATETIME .*others STRING, BIGINT") as fault,
    ):
        table.prepare(("at",))
    assert "ADD COLUMNS" not in str(fault.value)


def test_a_table_with_exactly_the_six_output_columns_is_accepted(service: Service) -> None:
    assert service.server is not None
    make(service, "six", OUTPUT)
    with closing(open_output(url(service, "six/ds=1"), service.connection())) as table:
        table.prepare(())
        table.write_batch("run/0-1", [succeeded(0)])
        assert list(table.results("run")) == [succeeded(0)]
    assert list(service.server.rows("six", "ds=1")[0]) == list(OUTPUT_COLUMNS)


def test_a_value_for_an_extra_column_of_another_type_is_converted_or_fails_its_row(service: Service) -> None:
    make(service, "counted", OUTPUT | {"n": "bigint"})
    with closing(open_output(url(service, "counted/ds=1"), service.connection())) as table:
        table.prepare(("n",))
        table.write_batch("run/0-1", [succeeded(0, n="12")])
        assert [row.extras for row in table.results("run")] == [{"n": 12}]
        assert table.write_batch("run/1-2", [succeeded(1, n="twelve")]) == {1: "row_unwritable"}


def test_a_column_name_that_sql_cannot_express_is_refused_in_a_new_table(service: Service) -> None:
    with (
        closing(open_output(url(service, "fresh/ds=1"), service.connection())) as table,
        pytest.raises(UsageError, match=r"cannot have a column named a`b, DS\. Rename it in the input"),
    ):
        table.prepare(("fine", "a`b", "DS"))


@pytest.mark.parametrize("value", ["a'b", "a,b", "a%2Fb", "%22", "%20x", "x%20", "%E6%98%A0", "x" * 256])
def test_a_partition_value_that_needs_quoting_is_refused(service: Service, value: str) -> None:
    with (
        closing(open_output(url(service, f"quoting/ds={value}"), service.connection())) as table,
        pytest.raises(UsageError, match="is not a value for partition column ds"),
    ):
        table.prepare(())


def test_a_wrong_project_or_a_wrong_key_is_a_usage_error(service: Service) -> None:
    with pytest.raises(UsageError, match="Check the project"):
        open_input("odps://elsewhere/videos/ds=1", service.connection())
    wrong = StaticProvider(Credentials(service.keys.access_key_id, "not-the-secret"))
    connection = OdpsConnection(service.endpoint, wrong, service.endpoint)
    with pytest.raises(UsageError, match="refuses these credentials") as fault:
        open_input(url(service, "videos/ds=1"), connection)
    assert "not-the-secret" not in str(fault.value)


@pytest.mark.parametrize("endpoint", ["service.example.com/api", "ftp://host", "https://user:hush@host/api"])
def test_an_endpoint_that_is_no_address_is_refused_without_its_password(endpoint: str) -> None:
    with pytest.raises(UsageError, match="is not an address") as fault:
        OdpsConnection(endpoint, StaticProvider(Credentials("id", "hush")))
    assert "hush" not in str(fault.value)
