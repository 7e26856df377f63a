"""Listing of partitions: SQLite tables, files in directories, MaxCompute tables."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest

from storage.errors import UsageError
from storage.tables.open import open_input
from storage.tables.partitions import exists, list_partitions
from storage.uri import TableUrl
from tests.unit.storage.tables.odps.odps_service import Service, odps_server

VIDEO = {"video_id": "v", "oss_bucket": "b", "video_path": "k", "video_tag": "", "info": ""}
COLUMNS = "video_id TEXT, oss_bucket TEXT, video_path TEXT, video_tag TEXT, info TEXT"


@pytest.fixture
def database(tmp_path: Path) -> str:
    with closing(sqlite3.connect(tmp_path / "in.db")) as db, db:
        db.execute(f"CREATE TABLE v ({COLUMNS}, ds TEXT, hh INTEGER, region TEXT)")
        days = [("20250101", 0, "cn"), ("20250101", 1, "cn"), ("20250102", 0, "cn"), ("x/y", 0, "cn"), (None, 0, "cn")]
        for ds, hh, region in [*days, *days, ("20250103", 7, "eu")]:
            db.execute("INSERT INTO v VALUES ('v', 'b', 'k', '', '', ?, ?, ?)", (ds, hh, region))
        db.execute("CREATE TABLE plain (video_id TEXT)")
    return f"sqlite:///{tmp_path}/in.db"


def touch(path: Path, seconds: float = 1_700_000_000.0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    os.utime(path, (seconds, seconds))


def test_each_distinct_value_of_a_sqlite_table_is_a_partition_with_a_url_that_opens_it(database: str) -> None:
    found = list_partitions(f"{database}#v/ds=*/hh=*/region=cn")
    assert [one.stars for one in found] == [("20250101", "0"), ("20250101", "1"), ("20250102", "0")]
    for one in found:
        with closing(open_input(one.url)) as table:
            assert table.count_rows() == 2
            assert table.url == one.url


def test_stars_come_in_the_order_in_which_they_were_written(database: str) -> None:
    assert [one.stars for one in list_partitions(f"{database}#v/region=*/hh=*/ds=2025*3")] == [("eu", "7", "010")]


def test_an_address_without_a_star_tests_whether_the_partition_exists(database: str) -> None:
    assert exists(f"{database}#v/ds=20250101")
    assert not exists(f"{database}#v/ds=20250109")


@pytest.mark.parametrize(
    ("fragment", "named"), [("absent/ds=*", "absent"), ("v/day=*", "day"), ("plain/ds=*", "no column ds")]
)
def test_a_missing_table_or_column_is_named(database: str, fragment: str, named: str) -> None:
    with pytest.raises(UsageError, match=named):
        list_partitions(f"{database}#{fragment}")


def test_a_missing_database_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"nowhere\.db"):
        list_partitions(f"sqlite:///{tmp_path}/nowhere.db#v/ds=*")


def test_files_are_partitions_by_their_names_with_their_time_of_change(tmp_path: Path) -> None:
    for name in ("ds=20250102.parquet", "ds=20250101.parquet", "ds=20250103.csv", "other.parquet"):
        touch(tmp_path / name)
    found = list_partitions(f"{tmp_path}/ds=*.parquet")
    assert [one.stars for one in found] == [("20250101",), ("20250102",)]
    assert found[0].url == str(TableUrl.parse(f"{tmp_path}/ds=20250101.parquet"))
    assert found[0].modified_at == datetime.fromtimestamp(1_700_000_000, tz=UTC)
    assert list_partitions(f"file://{tmp_path}/ds=*.parquet") == found


def test_directories_of_the_hive_style_are_walked_no_deeper_than_the_address(tmp_path: Path) -> None:
    touch(tmp_path / "year=2025" / "month=01" / "videos.jsonl")
    touch(tmp_path / "year=2025" / "month=02" / "videos.jsonl")
    touch(tmp_path / "year=2025" / "month=02" / "deeper" / "videos.jsonl")
    touch(tmp_path / "year=2025" / "month=03" / "else.jsonl")
    touch(tmp_path / "year=2024")  # a file in the place of a directory
    found = list_partitions(f"{tmp_path}/year=*/month=*/videos.jsonl")
    assert [one.stars for one in found] == [("2025", "01"), ("2025", "02")]


def test_a_directory_that_is_not_there_is_named_but_an_empty_one_has_no_partitions(tmp_path: Path) -> None:
    assert list_partitions(f"{tmp_path}/ds=*.jsonl") == []
    with pytest.raises(UsageError, match="nowhere"):
        list_partitions(f"{tmp_path}/nowhere/ds=*.jsonl")


def test_a_marker_may_be_a_file_of_any_name(tmp_path: Path) -> None:
    assert not exists(f"{tmp_path}/ds=20250101/_SUCCESS")
    touch(tmp_path / "ds=20250101" / "_SUCCESS")
    assert exists(f"{tmp_path}/ds=20250101/_SUCCESS")
    assert exists(f"file://{tmp_path}/ds=20250101/_SUCCESS")


# -- MaxCompute --


@pytest.fixture
def service() -> Iterator[Service]:
    with odps_server() as running:
        for day, hour in (("20250102", "00"), ("20250101", "23"), ("20250101", "00")):
            running.fill("videos", [VIDEO, VIDEO], f"ds={day},hh={hour}")
        yield running


def test_a_maxcompute_tables_partitions_are_listed_with_urls_that_open_them(service: Service) -> None:
    odps = service.connection()
    found = list_partitions(f"odps://{service.project}/videos/hh=*/ds=*", odps)
    assert [one.stars for one in found] == [("00", "20250101"), ("23", "20250101"), ("00", "20250102")]
    with closing(open_input(found[0].url, odps)) as table:
        assert table.count_rows() == 2


def test_a_maxcompute_partition_without_a_star_is_a_marker(service: Service) -> None:
    odps = service.connection()
    assert exists(f"odps://{service.project}/videos/ds=20250101/hh=23", odps)
    assert not exists(f"odps://{service.project}/videos/ds=20250102/hh=23", odps)


@pytest.mark.parametrize(("address", "named"), [("absent/ds=*", "absent"), ("videos/ds=*", "ds, hh")])
def test_a_missing_maxcompute_table_or_column_is_named(service: Service, address: str, named: str) -> None:
    with pytest.raises(UsageError, match=named):
        list_partitions(f"odps://{service.project}/{address}", service.connection())
