from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from storage.errors import Unavailable, UsageError
from storage.records import INPUT_COLUMNS
from storage.tables.sqlite.input import ANCHOR_ROWS, SqliteInput
from storage.uri import TableUrl
from tests.unit.storage.tables.table_rows import create_table, query, record_of

COLUMNS = (*INPUT_COLUMNS, "ds", "hh")


@pytest.fixture
def database(tmp_path: Path) -> Path:
    path = tmp_path / "videos.db"
    rows = [record_of(n, ds="20250115" if n % 3 else "20250116", hh=f"0{n % 2}") for n in range(12)]
    create_table(path, "videos", rows, COLUMNS)
    return path


def opened(database: Path, fragment: str, **options: float) -> SqliteInput:
    return SqliteInput(TableUrl.parse(f"sqlite:///{database}#{fragment}"), **options)


def ids_in(database: Path, fragment: str) -> list[object]:
    with closing(opened(database, fragment)) as table:
        return [row["video_id"] for row in table.read_rows(0, 100)]


def test_an_ordinal_is_the_position_among_the_partitions_rows(database: Path) -> None:
    assert ids_in(database, "videos/ds=20250116") == ["v0", "v3", "v6", "v9"]
    assert ids_in(database, "videos/ds=20250116/hh=01") == ["v3", "v9"]
    assert ids_in(database, "videos/hh=01/ds=20250116") == ["v3", "v9"]


def test_without_a_partition_its_column_is_like_any_other(database: Path) -> None:
    assert len(ids_in(database, "videos")) == 12
    with closing(opened(database, "videos/ds=20250115")) as table:
        assert table.columns == (*INPUT_COLUMNS, "hh")


def test_order_is_the_rowids_whatever_they_are(tmp_path: Path) -> None:
    path = tmp_path / "v.db"
    create_table(path, "videos", [], INPUT_COLUMNS)
    for rowid in (5, -(2**63), 2**63 - 1, 0, -7):
        query(path, "INSERT INTO videos (rowid, video_id) VALUES (?, ?)", rowid, str(rowid))
    assert ids_in(path, "videos") == [str(-(2**63)), "-7", "0", "5", str(2**63 - 1)]


def test_an_index_on_the_partition_changes_nothing(database: Path) -> None:
    before = ids_in(database, "videos/ds=20250115")
    query(database, "CREATE INDEX by_day ON videos (ds, video_id DESC)")
    assert ids_in(database, "videos/ds=20250115") == before


def test_rows_appended_later_follow(database: Path) -> None:
    with closing(opened(database, "videos/ds=20250116")) as table:
        table.read_rows(0, 4)
        query(database, "INSERT INTO videos (video_id, ds) VALUES ('late', '20250116')")
        assert [row["video_id"] for row in table.read_rows(4, 10)] == ["late"]
        assert table.count_rows() == 5


def test_a_partition_column_may_hold_numbers(tmp_path: Path) -> None:
    path = tmp_path / "v.db"
    create_table(path, "videos", [], (*INPUT_COLUMNS, "ds INTEGER"))
    query(path, "INSERT INTO videos (video_id, ds) VALUES ('a', 20250115)")
    assert ids_in(path, "videos/ds=20250115") == ["a"]


def test_an_empty_table_without_partitions_has_no_rows(tmp_path: Path) -> None:
    create_table(tmp_path / "v.db", "videos", [])
    with closing(opened(tmp_path / "v.db", "videos")) as table:
        assert (table.count_rows(), table.read_rows(0, 10)) == (0, [])


def test_names_with_sql_characters_are_quoted(tmp_path: Path) -> None:
    create_table(tmp_path / "v.db", '"my-table"', [record_of(0)], (*INPUT_COLUMNS, '"select ""x"""', '"rowid"'))
    with closing(opened(tmp_path / "v.db", "my-table")) as table:
        assert table.columns == (*INPUT_COLUMNS, 'select "x"', "rowid")
        assert len(table.read_rows(0, 10)) == 1


def test_values_that_json_cannot_hold_become_text(tmp_path: Path) -> None:
    path = tmp_path / "v.db"
    create_table(path, "videos", [], (*INPUT_COLUMNS, "size REAL"))
    query(path, "INSERT INTO videos VALUES (x'ff41', CAST(x'c328' AS TEXT), 7, NULL, 2.5, 9e999)")
    with closing(opened(path, "videos")) as table:
        (row,) = table.read_rows(0, 1)
    assert list(row.values()) == ["\\xffA", "\\xc3(", 7, None, 2.5, None]


# ── far ranges ───────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def long_table(tmp_path: Path) -> Iterator[SqliteInput]:
    path = tmp_path / "long.db"
    create_table(path, "videos", [record_of(n, ds=str(n % 2)) for n in range(40_000)], (*INPUT_COLUMNS, "ds"))
    with closing(opened(path, "videos/ds=1")) as table:
        yield table


def steps_of(table: SqliteInput, start: int, count: int) -> int:
    """Read a range and count SQLite's virtual machine steps, in hundreds."""
    steps = []
    table._connection.set_progress_handler(lambda: steps.append(1), 100)
    rows = table.read_rows(start, count)
    table._connection.set_progress_handler(None, 0)
    assert [row["video_id"] for row in rows] == [f"v{2 * n + 1}" for n in range(start, start + len(rows))]
    return len(steps)


def test_a_sequential_read_costs_the_same_at_the_end_of_a_long_table_as_at_its_start(long_table: SqliteInput) -> None:
    steps = [steps_of(long_table, start, 256) for start in range(0, 19_000, 256)]
    assert max(steps) <= 2 * steps[0]


def test_a_range_read_before_is_found_again_without_counting_from_the_start(long_table: SqliteInput) -> None:
    cold = steps_of(long_table, 19_000, 10)
    for start in range(0, 19_500, 256):
        long_table.read_rows(start, 256)
    assert steps_of(long_table, 19_000, 10) < cold / 10


def test_the_number_of_kept_rowids_is_bounded(long_table: SqliteInput) -> None:
    for start in (*range(2000), *range(1000)):
        long_table.read_rows(start, 1)
    assert len(long_table._anchors) <= 2000 / ANCHOR_ROWS


# ── what the operator must mend ──────────────────────────────────────────────────────────────────────────────────────


def test_a_missing_file_under_a_relative_url_explains_the_slashes(tmp_path: Path) -> None:
    url = TableUrl.parse("sqlite:///data/videos.db#videos", cwd=tmp_path)
    with pytest.raises(UsageError, match="three slashes are relative, four are absolute") as caught:
        SqliteInput(url)
    assert str(tmp_path / "data/videos.db") in str(caught.value)


def test_a_missing_file_under_an_absolute_url_has_no_hint_about_slashes(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="there is no file") as caught:
        opened(tmp_path / "absent.db", "videos")
    assert "slashes" not in str(caught.value)
    assert not (tmp_path / "absent.db").exists()


def test_a_directory_is_not_a_table(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="not a regular file"):
        opened(tmp_path, "videos")


def test_a_file_that_is_not_a_database_is_named(tmp_path: Path) -> None:
    path = tmp_path / "v.db"
    path.write_text("video_id,oss_bucket\n" * 100)
    with pytest.raises(UsageError, match=r"v\.db is not an SQLite database"):
        opened(path, "videos")


def test_a_missing_table_is_named_with_those_there_are(database: Path) -> None:
    create_table(database, "clips", [])
    with pytest.raises(UsageError, match=r"has no table Videos \(tables found: clips, videos\)"):
        opened(database, "Videos")


def test_an_unknown_partition_column_is_named_with_the_columns(database: Path) -> None:
    with pytest.raises(UsageError, match=r"has no column day \(columns found: video_id, .*, ds, hh\)"):
        opened(database, "videos/day=20250115")


def test_a_missing_partition_is_named_with_those_there_are(database: Path) -> None:
    with pytest.raises(UsageError, match=r"partition ds=20250117 \(partitions found: ds=20250115, ds=20250116\)"):
        opened(database, "videos/ds=20250117")
    with pytest.raises(UsageError, match=r"partitions found: ds=20250115/hh=00, ds=20250115/hh=01, ds=20250116/hh=00"):
        opened(database, "videos/ds=20250117/hh=01")


def test_not_every_partition_of_many_is_named(tmp_path: Path) -> None:
    create_table(tmp_path / "v.db", "videos", [record_of(n, ds=f"{n:02}") for n in range(50)], (*INPUT_COLUMNS, "ds"))
    with pytest.raises(UsageError, match=r"ds=19 and 30 more\)"):
        opened(tmp_path / "v.db", "videos/ds=x")


def test_a_partition_of_an_empty_table_is_missing(tmp_path: Path) -> None:
    create_table(tmp_path / "v.db", "videos", [], (*INPUT_COLUMNS, "ds"))
    with pytest.raises(UsageError, match="partitions found: none"):
        opened(tmp_path / "v.db", "videos/ds=x")


def test_rows_without_an_order_are_refused(database: Path) -> None:
    query(database, "CREATE VIEW recent AS SELECT * FROM videos")
    query(database, "CREATE TABLE keyed (video_id TEXT PRIMARY KEY) WITHOUT ROWID")
    with pytest.raises(UsageError, match="is a view"):
        opened(database, "recent")
    with pytest.raises(UsageError, match="no rowid"):
        opened(database, "keyed")


def test_a_column_dropped_while_open_is_a_usage_error(database: Path) -> None:
    with closing(opened(database, "videos/ds=20250115")) as table:
        query(database, "ALTER TABLE videos DROP COLUMN info")
        with pytest.raises(UsageError, match="changed meanwhile"):
            table.read_rows(0, 1)


def test_a_locked_database_raises_unavailable(database: Path) -> None:
    with closing(opened(database, "videos", timeout_seconds=0.05)) as table:
        with closing(sqlite3.connect(database, isolation_level=None)) as other:
            other.execute("BEGIN EXCLUSIVE")
            with pytest.raises(Unavailable, match=r"videos\.db: database is locked"):
                table.read_rows(0, 1)
            with pytest.raises(Unavailable, match="locked"):
                opened(database, "videos", timeout_seconds=0.05)
            other.execute("ROLLBACK")
        assert len(table.read_rows(0, 1)) == 1
