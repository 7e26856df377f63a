from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from threading import Barrier, Timer

import pytest

from storage.errors import Unavailable, UsageError
from storage.records import OUTPUT_COLUMNS
from storage.tables.sqlite.input import SqliteInput
from storage.tables.sqlite.output import SqliteOutput
from storage.uri import TableUrl
from tests.unit.storage.tables.table_rows import create_table, failed, query, record_of, succeeded

FRAGMENT = "results/ds=20250115"


@pytest.fixture
def database(tmp_path: Path) -> Path:
    return tmp_path / "out.db"


def opened(database: Path, fragment: str = FRAGMENT, **options: float) -> SqliteOutput:
    return SqliteOutput(TableUrl.parse(f"sqlite:///{database}#{fragment}"), **options)


@pytest.fixture
def sink(database: Path) -> Iterator[SqliteOutput]:
    with closing(opened(database, timeout_seconds=0.2)) as table:
        table.prepare(("title",))
        yield table


def rows_in(database: Path, table: str = "results") -> int:
    ((count,),) = query(database, f"SELECT count(*) FROM {table}")
    assert isinstance(count, int)
    return count


# ── what stands in the database ──────────────────────────────────────────────────────────────────────────────────────


def test_the_table_has_the_output_columns_the_carried_ones_and_the_partition_and_no_other(
    sink: SqliteOutput, database: Path
) -> None:
    columns = query(database, "SELECT name FROM pragma_table_xinfo('results')")
    assert [name for (name,) in columns] == [*OUTPUT_COLUMNS, "title", "ds"]


def test_the_database_is_in_wal_mode_and_every_commit_reaches_the_disk(sink: SqliteOutput, database: Path) -> None:
    assert query(database, "PRAGMA journal_mode") == [("wal",)]
    with sink._connected() as connection:
        assert connection.execute("PRAGMA synchronous").fetchone() == (2,)


def test_the_database_file_alone_has_every_written_row(database: Path, tmp_path: Path) -> None:
    def write(writer: int) -> None:
        with closing(opened(database, f"results/ds={writer}")) as table:
            for number in range(10):
                table.write_batch(f"{writer} {number}", [succeeded(number)])
            together.wait()  # both writers are open while the file is copied
            shutil.copy(database, tmp_path / f"{writer}.db")
            together.wait()

    together = Barrier(2, timeout=60)
    with closing(opened(database)) as table:
        table.prepare(("title",))
    with ThreadPoolExecutor(2) as threads:
        list(threads.map(write, range(2)))
    assert [rows_in(tmp_path / f"{writer}.db") for writer in range(2)] == [20, 20]


def test_rows_behind_an_open_reader_reach_the_database_file_at_the_close(
    sink: SqliteOutput, database: Path, tmp_path: Path
) -> None:
    with closing(sqlite3.connect(database)) as reader:
        sink.write_batch("first", [succeeded(0)])
        reader.execute("BEGIN")
        assert reader.execute("SELECT count(*) FROM results").fetchone() == (1,)
        sink.write_batch("second", [succeeded(1)])
        reader.rollback()
        sink.close()
        shutil.copy(database, tmp_path / "copy.db")
    assert rows_in(tmp_path / "copy.db") == 2


def test_each_batch_has_a_record(sink: SqliteOutput, database: Path) -> None:
    sink.write_batch("batch", [succeeded(1), failed(2)])
    assert query(database, "SELECT batch_id, run_id, rows FROM tamis_batches") == [("batch", "run", 2)]


def test_a_batch_and_its_record_are_one_transaction(sink: SqliteOutput, database: Path) -> None:
    query(database, "CREATE TRIGGER refuse BEFORE INSERT ON tamis_batches BEGIN SELECT RAISE(ABORT, 'refused'); END")
    with pytest.raises(UsageError, match="refused"):
        sink.write_batch("batch", [succeeded(1)])
    assert rows_in(database) == 0


def test_deleted_rows_are_restored_by_the_next_delivery(sink: SqliteOutput, database: Path) -> None:
    rows = [succeeded(n, title="t") for n in range(5)]
    sink.write_batch("batch", rows)
    query(database, "DELETE FROM results WHERE video_id IN ('v1', 'v3')")
    sink.write_batch("batch", rows)
    assert list(sink.results("run")) == rows
    query(database, "DELETE FROM results")
    sink.write_batch("batch", rows)
    assert list(sink.results("run")) == rows


def test_the_identity_index_also_holds_for_other_writers(sink: SqliteOutput, database: Path) -> None:
    sink.write_batch("batch", [succeeded(1)])
    with pytest.raises(sqlite3.IntegrityError, match="UNIQUE"):
        query(database, "INSERT INTO results SELECT * FROM results")


def test_every_query_of_a_run_goes_through_the_identity_index(sink: SqliteOutput, database: Path) -> None:
    schema = sink._schema
    with sink._connected() as connection:
        queries = {
            schema.outcomes: 2,
            schema.results(schema.result_columns(connection)): 2,
            schema.exists: 1,
            schema.count: 0,
        }
    for sql, parameters in queries.items():
        plan = query(database, f"EXPLAIN QUERY PLAN {sql}", *schema.values, "run", *[1] * parameters)
        assert len(plan) == 1, plan  # no step to sort, none to look anything up elsewhere
        assert "SEARCH results USING" in str(plan[0][3])
        assert "INDEX tamis_identity.results (ds=? AND <expr>=?" in str(plan[0][3])
        assert ("<expr>=? AND <expr>" in str(plan[0][3])) is bool(parameters)


def test_a_partition_value_replaces_a_carried_column_of_its_name(database: Path) -> None:
    with closing(opened(database)) as sink:
        sink.prepare(("ds", "title"))
        sink.write_batch("batch", [succeeded(1, ds="20240101", title="t")])
        assert [row.extras for row in sink.results("run")] == [{"title": "t"}]
    assert query(database, "SELECT ds FROM results") == [("20250115",)]


def test_an_output_needs_no_partition(database: Path) -> None:
    with closing(opened(database, "results")) as sink:
        sink.prepare(())
        for _ in range(2):
            sink.write_batch("batch", [succeeded(1)])
        assert list(sink.results("run")) == [succeeded(1)]


def test_input_and_output_may_share_a_database(database: Path) -> None:
    create_table(database, "videos", [record_of(n) for n in range(10)])
    url = TableUrl.parse(f"sqlite:///{database}#videos")
    with closing(SqliteInput(url)) as source, closing(opened(database)) as sink:
        source.read_rows(0, 1)
        sink.prepare(())
        sink.write_batch("batch", [succeeded(1)])
        assert len(source.read_rows(0, 100)) == 10
        assert list(sink.results("run")) == [succeeded(1)]


def test_tables_whose_names_join_to_equal_text_have_separate_identity_indexes(database: Path) -> None:
    for fragment in ("a/b=1", "a_b", "a-b"):
        with closing(opened(database, fragment)) as sink:
            sink.prepare(())
            sink.write_batch(fragment, [succeeded(1)])
            assert sink.count_results("run") == 1


def test_a_renamed_table_does_not_block_a_new_one_of_its_old_name(sink: SqliteOutput, database: Path) -> None:
    sink.write_batch("batch", [succeeded(1)])
    query(database, "ALTER TABLE results RENAME TO archive")
    sink.prepare(("title",))
    assert sink.count_results("run") == 0
    sink.write_batch("batch", [succeeded(1), succeeded(1)])
    assert (sink.count_results("run"), rows_in(database, "archive")) == (1, 1)


# ── a table that was there before ────────────────────────────────────────────────────────────────────────────────────


def test_an_existing_table_with_the_right_columns_is_used(database: Path) -> None:
    create_table(
        database, "results", [], (*OUTPUT_COLUMNS, "ds", "note", "seen NOT NULL DEFAULT 0", "n INTEGER PRIMARY KEY")
    )
    with closing(opened(database)) as sink:
        sink.prepare(())
        sink.write_batch("batch", [succeeded(1)])
        assert [row.extras for row in sink.results("run")] == [{"note": None, "seen": 0, "n": 1}]


def test_missing_columns_are_named_with_the_statement_that_adds_them(database: Path) -> None:
    create_table(database, "results", [], ("video_id", "ds"))
    with closing(opened(database)) as sink:
        with pytest.raises(
            UsageError, match=r"lacks oss_bucket, .*result_info, title \(columns found: video_id, ds\)"
        ) as caught:
            sink.prepare(("title",))
        for statement in str(caught.value).split("add them: ")[1].split(";")[:-1]:
            query(database, statement)
        sink.prepare(("title",))


def test_a_foreign_column_that_must_not_be_null_is_named(database: Path) -> None:
    create_table(database, "results", [], (*OUTPUT_COLUMNS, "ds", "owner TEXT NOT NULL"))
    with closing(opened(database)) as sink, pytest.raises(UsageError, match="column owner must not be NULL"):
        sink.prepare(())


@pytest.mark.parametrize("result_info", ["not json", '{"run_id": "r", "ordinal": 1}'])
def test_rows_that_have_no_single_identity_are_refused(database: Path, result_info: str) -> None:
    row = {"result_info": result_info, "ds": "20250115"}
    create_table(database, "results", [row, row], (*OUTPUT_COLUMNS, "ds"))
    with closing(opened(database)) as sink, pytest.raises(UsageError, match="holds rows that tamis did not write"):
        sink.prepare(())


def test_rows_without_a_result_are_left_unchanged(database: Path) -> None:
    create_table(database, "results", [{"video_id": "mine"}, {"video_id": "mine"}], (*OUTPUT_COLUMNS, "ds"))
    with closing(opened(database)) as sink:
        sink.prepare(())
        sink.write_batch("batch", [succeeded(1)])
    assert rows_in(database) == 3


@pytest.mark.parametrize(
    ("columns", "reason"),
    [
        ((*OUTPUT_COLUMNS, "n INTEGER CHECK (typeof(n) <> 'text')", "title"), "CHECK constraint failed"),
        ((*OUTPUT_COLUMNS, "n", "title CHECK (length(title) < 9)"), "CHECK constraint failed"),
    ],
)
def test_a_row_that_a_constraint_refuses_becomes_a_failure_and_the_others_are_written(
    database: Path, columns: tuple[str, ...], reason: str
) -> None:
    create_table(database, "results", [], (*columns, "ds"))
    rows = [succeeded(0, n=1, title="good"), succeeded(1, n="many", title="much too long"), succeeded(2, n=3, title="")]
    with closing(opened(database)) as sink:
        sink.prepare(("n", "title"))
        for _ in range(2):
            assert sink.write_batch("batch", rows) == {1: "row_unwritable"}
        first, refused, last = sink.results("run")
    assert (first, last) == (rows[0], rows[2])
    assert reason in refused.result_info["error"]["message"]
    assert (refused.extras["n"] is None) != (refused.extras["title"] is None)  # only the refused value is left out


def test_a_row_with_a_column_that_the_table_lacks_becomes_a_failure(sink: SqliteOutput) -> None:
    assert sink.write_batch("batch", [succeeded(0), succeeded(1, author="later")]) == {1: "row_unwritable"}
    _, refused = sink.results("run")
    assert "column author: the table has no such column" in refused.result_info["error"]["message"]


def test_a_dropped_column_is_a_usage_error_and_writing_continues_when_it_is_back(
    database: Path,
) -> None:
    with closing(opened(database)) as sink:
        sink.prepare(("title",))
        query(database, "ALTER TABLE results DROP COLUMN title")
        with pytest.raises(UsageError, match="column title was dropped from the table"):
            sink.write_batch("batch", [succeeded(0, title="t")])
        query(database, "ALTER TABLE results ADD COLUMN title")
        assert sink.write_batch("batch", [succeeded(0, title="t")]) == {}
        assert [row.extras["title"] for row in sink.results("run")] == ["t"]


def test_a_row_of_a_lower_generation_never_replaces_one_of_a_higher(sink: SqliteOutput) -> None:
    sink.write_batch("retry 2", [succeeded(0).with_generation(2)])
    sink.write_batch("retry 1", [failed(0).with_generation(1)])
    sink.write_batch("base", [failed(0)])
    assert sink.outcomes("run", 0, 1) == {0: "ok"}


def test_a_constraint_of_the_tables_own_is_reported(database: Path) -> None:
    create_table(database, "results", [], ("video_id PRIMARY KEY", *OUTPUT_COLUMNS[1:], "ds"))
    with closing(opened(database)) as sink:
        sink.prepare(())
        with pytest.raises(UsageError, match=r"constraint of its own .*results\.video_id"):
            sink.write_batch("batch", [succeeded(1, "run"), succeeded(1, "another")])


@pytest.mark.parametrize(
    ("fragment", "why"),
    [("tamis_batches", "reserved"), ("sqlite_x", "reserved"), ("Results", "spelt results"), ("shown", "is a view")],
)
def test_a_name_that_is_taken_is_refused(sink: SqliteOutput, database: Path, fragment: str, why: str) -> None:
    query(database, "CREATE VIEW shown AS SELECT 1")
    with closing(opened(database, fragment)) as other, pytest.raises(UsageError, match=why):
        other.prepare(())


# ── files that are not as they should be ─────────────────────────────────────────────────────────────────────────────


def test_nothing_is_created_before_prepare(database: Path) -> None:
    table = opened(database)
    with pytest.raises(UsageError, match="there is no file"):
        table.outcomes("run", 0, 1)
    assert not database.exists()


def test_a_database_without_the_table_is_named_with_those_there_are(database: Path) -> None:
    create_table(database, "videos", [])
    with pytest.raises(UsageError, match=r"no table results \(tables found: videos\)"):
        list(opened(database).results("run"))


def test_a_missing_directory_is_not_created(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="there is no directory"):
        opened(tmp_path / "absent" / "out.db").prepare(())
    assert not (tmp_path / "absent").exists()


def test_a_file_that_is_not_a_database_is_left_unchanged(database: Path) -> None:
    database.write_text("hello " * 1000)
    with pytest.raises(UsageError, match="is not an SQLite database"):
        opened(database).prepare(())
    assert database.read_text() == "hello " * 1000


def test_a_database_locked_for_longer_than_the_timeout_is_to_be_tried_again(sink: SqliteOutput, database: Path) -> None:
    with closing(sqlite3.connect(database, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(Unavailable, match=r"out\.db: database is locked"):
            sink.write_batch("batch", [succeeded(1)])
        assert sink.outcomes("run", 0, 9) == {}  # readers never wait for a writer
        other.execute("ROLLBACK")
    sink.write_batch("batch", [succeeded(1)])
    assert rows_in(database) == 1


def test_preparing_waits_for_a_lock_and_then_is_to_be_tried_again(database: Path) -> None:
    create_table(database, "videos", [])
    with closing(sqlite3.connect(database, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        with closing(opened(database, timeout_seconds=0.1)) as sink, pytest.raises(Unavailable, match="locked"):
            sink.prepare(())


def test_preparing_waits_for_a_concurrent_writer(database: Path) -> None:
    create_table(database, "videos", [])
    with closing(sqlite3.connect(database, isolation_level=None, check_same_thread=False)) as other:
        other.execute("BEGIN IMMEDIATE")  # SQLite refuses to switch to WAL beside this at once, without any timeout
        release = Timer(0.2, other.execute, ("COMMIT",))
        release.start()
        with closing(opened(database)) as sink:
            sink.prepare(())
        release.join()
    assert query(database, "PRAGMA journal_mode") == [("wal",)]


@pytest.mark.parametrize("round_number", range(5))
def test_several_processes_may_prepare_a_new_database_at_once(database: Path, round_number: int) -> None:
    together = Barrier(6)

    def prepare() -> None:
        with closing(opened(database)) as sink:
            together.wait()
            sink.prepare(())

    with ThreadPoolExecutor(6) as threads:
        for prepared in [threads.submit(prepare) for _ in range(6)]:
            prepared.result()


def test_a_database_that_cannot_grow_is_to_be_tried_again_and_nothing_is_half_written(
    sink: SqliteOutput, database: Path
) -> None:
    with sink._connected() as connection:
        ((pages,),) = connection.execute("PRAGMA page_count").fetchall()
        connection.execute(f"PRAGMA max_page_count = {pages}")  # SQLite's own way to have a full disk
    rows = [succeeded(n, title="x" * 1000) for n in range(100)]
    with pytest.raises(Unavailable, match=r"out\.db: database or disk is full"):
        sink.write_batch("batch", rows)
    assert rows_in(database) == 0
    with sink._connected() as connection:
        connection.execute("PRAGMA max_page_count = 1000000")
    sink.write_batch("batch", rows)
    assert rows_in(database) == 100


def test_a_database_deleted_while_open_is_noticed_before_a_write(sink: SqliteOutput, database: Path) -> None:
    sink.write_batch("batch", [succeeded(1)])
    for path in database.parent.glob("out.db*"):
        path.unlink()
    with pytest.raises(UsageError, match="there is no file"):
        sink.write_batch("more", [succeeded(2)])
    sink.prepare(("title",))
    sink.write_batch("more", [succeeded(2)])
    assert rows_in(database) == 1


def test_a_database_replaced_while_open_is_the_one_written_to(
    sink: SqliteOutput, database: Path, tmp_path: Path
) -> None:
    sink.close()
    shutil.copy(database, tmp_path / "backup.db")
    sink.write_batch("batch", [succeeded(1)])
    (tmp_path / "backup.db").replace(database)
    for suffix in ("-wal", "-shm"):
        database.with_name(database.name + suffix).unlink(missing_ok=True)
    sink.write_batch("more", [succeeded(2)])
    assert sink.outcomes("run", 0, 9) == {2: "ok"}
