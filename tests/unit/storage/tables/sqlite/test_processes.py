"""Several processes, killed and full disks: an output table keeps exactly one row for each identity."""

from __future__ import annotations

import shutil
import sqlite3
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from storage.tables.sqlite.output import SqliteOutput
from storage.uri import TableUrl
from tests.unit.storage.tables.table_rows import query
from tests.unit.storage.tables.table_writers import SHARD_ROWS, SHARDS, finish, shard, start

EVERY_ORDINAL = list(range(SHARDS * SHARD_ROWS))


@pytest.fixture
def database(tmp_path: Path) -> Path:
    return tmp_path / "out.db"


@pytest.fixture
def url(database: Path) -> str:
    return f"sqlite:///{database}#results/ds=20250115"


@pytest.fixture
def sink(url: str) -> Iterator[SqliteOutput]:
    with closing(SqliteOutput(TableUrl.parse(url))) as table:
        table.prepare(())
        yield table


def ordinals_in(database: Path) -> list[object]:
    rows = query(database, "SELECT json_extract(result_info, '$.ordinal') AS ordinal FROM results ORDER BY ordinal")
    return [ordinal for (ordinal,) in rows]


def test_processes_that_deliver_every_batch_twice_leave_one_row_each(
    sink: SqliteOutput, database: Path, url: str
) -> None:
    processes = [start("deliver_all_twice", url, seed) for seed in "abc"]
    for process in processes:
        finish(process)
    assert ordinals_in(database) == EVERY_ORDINAL
    assert query(database, "SELECT count(*), sum(rows) FROM tamis_batches") == [(SHARDS, len(EVERY_ORDINAL))]


def test_processes_may_prepare_one_new_table_at_the_same_time(database: Path, url: str) -> None:
    for process in [start("prepare_and_deliver", url, str(number)) for number in range(4)]:
        finish(process)
    assert ordinals_in(database) == EVERY_ORDINAL[: 4 * SHARD_ROWS]
    assert query(database, "PRAGMA journal_mode") == [("wal",)]


# ── kill -9 ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_process_killed_in_the_middle_of_a_transaction_leaves_nothing_of_it(
    sink: SqliteOutput, database: Path, url: str
) -> None:
    sink.write_batch("shard 0", shard(0))
    make_endless(database, video_id=f"v{SHARD_ROWS + SHARD_ROWS // 2}")
    process = start("deliver_one", url, "1")
    wait_until_locked(database)  # by its transaction, which cannot end
    process.kill()
    process.communicate()
    query(database, "DROP TRIGGER endless")
    assert ordinals_in(database) == EVERY_ORDINAL[:SHARD_ROWS]
    assert query(database, "SELECT batch_id FROM tamis_batches") == [("shard 0",)]
    sink.write_batch("shard 1", shard(1))
    assert ordinals_in(database) == EVERY_ORDINAL[: 2 * SHARD_ROWS]


def make_endless(database: Path, video_id: str) -> None:
    """Let the insertion of one row take for ever."""
    query(database, "CREATE TABLE many (number)")
    for _ in range(100):
        query(database, "INSERT INTO many VALUES (1)")
    query(
        database,
        f"CREATE TRIGGER endless AFTER INSERT ON results WHEN new.video_id = '{video_id}' "
        f"BEGIN UPDATE many SET number = (SELECT count(*) FROM {', '.join(f'many AS m{n}' for n in range(9))}); END",
    )


def wait_until_locked(database: Path) -> None:
    deadline = time.monotonic() + 60
    with closing(sqlite3.connect(database, isolation_level=None, timeout=0)) as connection:
        while time.monotonic() < deadline:
            try:
                connection.execute("BEGIN IMMEDIATE")
            except sqlite3.OperationalError:
                return
            connection.execute("ROLLBACK")
            time.sleep(0.005)
    pytest.fail("the writer never began")


def test_killed_processes_lose_no_row_and_write_none_twice(sink: SqliteOutput, database: Path, url: str) -> None:
    for kill_after in (1, 7, 20):
        process = start("deliver_all_twice", url, str(kill_after))
        assert process.stdout is not None
        for _ in range(kill_after):
            process.stdout.readline()
        process.kill()
        process.communicate()
        ordinals = ordinals_in(database)
        assert len(ordinals) == len(set(ordinals))
        assert len(ordinals) % SHARD_ROWS == 0  # whole shards only
    finish(start("deliver_all_twice", url, "last"))
    assert ordinals_in(database) == EVERY_ORDINAL
    assert query(database, "PRAGMA integrity_check") == [("ok",)]


# ── disks ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_file_that_may_not_grow_is_to_be_tried_again(sink: SqliteOutput, database: Path, url: str) -> None:
    said = finish(start("deliver_within", url, "150000"))
    assert said.startswith(f"unavailable {database}: ")
    assert said.count("unavailable") == 1
    assert ordinals_in(database) == EVERY_ORDINAL


def test_a_file_that_may_not_be_written_is_to_be_tried_again() -> None:
    directory = Path(tempfile.mkdtemp(prefix="tamis-readonly-"))  # pytest's own is closed to other users
    try:
        database = directory / "out.db"
        url = f"sqlite:///{database}#results"
        with closing(SqliteOutput(TableUrl.parse(url))) as sink:
            sink.prepare(())
        database.chmod(0o444)
        directory.chmod(0o555)
        said = finish(start("deliver_without_permission", url, "0"))
        assert said.startswith(f"unavailable {database}: ")
        assert "not writable" in said
    finally:
        directory.chmod(0o755)
        shutil.rmtree(directory)
