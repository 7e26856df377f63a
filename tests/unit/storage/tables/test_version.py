"""Versions of inputs: every process of a run reads the same rows at the same positions, or none."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pytest
from pyarrow import parquet

from storage.errors import UsageError
from storage.records import INPUT_COLUMNS, Record
from storage.tables.open import open_input
from storage.tables.protocol import InputTable
from storage.tables.version import InputVersion, version_of
from tests.unit.storage.tables.odps.odps_service import Service, odps_server
from tests.unit.storage.tables.table_rows import create_table, query, record_of

ROWS = 600
RECORDS = [record_of(number) for number in range(ROWS)]
SHUFFLED = random.Random(7).sample(RECORDS, ROWS)

Write = Callable[[Sequence[Record]], None]
Open = Callable[[InputVersion | None], InputTable]


@pytest.fixture
def service() -> Iterator[Service]:
    with odps_server() as running:
        assert running.server is not None
        running.server.create_table("videos", dict.fromkeys(INPUT_COLUMNS, "string"), partitions={"ds": "string"})
        yield running


@pytest.fixture(params=["odps", "sqlite", "jsonl", "parquet"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def write(kind: str, service: Service, tmp_path: Path) -> Write:
    """Return how to replace the table's rows."""

    def write_odps(rows: Sequence[Record]) -> None:
        assert service.server is not None
        service.server.insert("videos", rows, "ds=1", is_overwrite=True)
        service.server.expire_sessions(is_forgotten=True)

    def write_sqlite(rows: Sequence[Record]) -> None:
        if (tmp_path / "v.db").exists():
            query(tmp_path / "v.db", "DROP TABLE videos")
        create_table(tmp_path / "v.db", "videos", rows)

    def write_jsonl(rows: Sequence[Record]) -> None:
        (tmp_path / "v.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))

    def write_parquet(rows: Sequence[Record]) -> None:
        parquet.write_table(pa.Table.from_pylist(list(rows)), tmp_path / "v.parquet")

    return {"odps": write_odps, "sqlite": write_sqlite, "jsonl": write_jsonl, "parquet": write_parquet}[kind]


@pytest.fixture
def opened(kind: str, service: Service, tmp_path: Path) -> Open:
    urls = {
        "odps": f"odps://{service.project}/videos/ds=1",
        "sqlite": f"sqlite:///{tmp_path}/v.db#videos",
        "jsonl": f"{tmp_path}/v.jsonl",
        "parquet": f"{tmp_path}/v.parquet",
    }
    connection = service.connection() if kind == "odps" else None
    return lambda version: open_input(urls[kind], connection, version)


@pytest.fixture
def version(write: Write, opened: Open) -> InputVersion:
    write(RECORDS)
    with closing(opened(None)) as table:
        found = version_of(table)
    assert InputVersion.from_json(found.to_json()) == found
    return found


@pytest.mark.parametrize(
    "rows",
    [SHUFFLED, [*SHUFFLED, *[record_of(n) for n in range(600, 650)]], RECORDS[:-1], [*RECORDS[1:], RECORDS[0]]],
    ids=["reordered", "reordered and grown", "shrunk", "moved by one"],
)
def test_a_rewritten_input_is_refused_by_a_process_that_opens_it_later(
    version: InputVersion, write: Write, opened: Open, rows: Sequence[Record]
) -> None:
    write(rows)
    with pytest.raises(UsageError, match=r"changed (after|while) .*copy the new ones to another partition"):
        opened(version)


def test_an_input_written_again_with_equal_rows_is_read_on(version: InputVersion, write: Write, opened: Open) -> None:
    write(RECORDS)
    with closing(opened(version)) as table:
        assert table.read_rows(0, ROWS) == RECORDS


def test_an_input_without_rows_has_a_version_that_rows_may_follow(write: Write, opened: Open, kind: str) -> None:
    write([])
    with closing(opened(None)) as table:
        version = version_of(table)
    assert (version.count, version.samples) == (0, ())
    if kind != "odps":  # a partition's order is known for one session only, so its count is part of the version
        write(RECORDS[:5])
        with closing(opened(version)) as table:
            assert table.count_rows() == 5


# ── MaxCompute sessions ──────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def url(service: Service) -> str:
    assert service.server is not None
    service.server.insert("videos", RECORDS, "ds=1")
    return f"odps://{service.project}/videos/ds=1"


def test_processes_of_a_run_share_one_session_so_that_a_rewrite_in_mid_run_changes_no_row(
    service: Service, url: str
) -> None:
    assert service.server is not None
    with closing(open_input(url, service.connection())) as first:
        version = version_of(first)
        assert first.read_rows(0, 100) == RECORDS[:100]
        service.server.insert("videos", [*SHUFFLED, *RECORDS[:50]], "ds=1", is_overwrite=True)
        with closing(open_input(url, service.connection(), version)) as second:
            assert second.snapshot_id == version.snapshot_id
            fed = [*first.read_rows(0, 300), *second.read_rows(300, 300)]
    assert fed == RECORDS


def test_a_session_that_ends_after_a_rewrite_of_equal_size_is_noticed(service: Service, url: str) -> None:
    assert service.server is not None
    with closing(open_input(url, service.connection())) as submitted:
        version = version_of(submitted)
    with closing(open_input(url, service.connection(), version)) as table:
        service.server.insert("videos", SHUFFLED, "ds=1", is_overwrite=True)
        service.server.expire_sessions()
        for _ in range(2):
            with pytest.raises(UsageError, match=r"changed after the run was submitted: row \d+ is another one"):
                table.read_rows(0, 10)
        service.server.insert("videos", RECORDS, "ds=1", is_overwrite=True)
        assert table.read_rows(0, ROWS) == RECORDS


def test_a_version_without_a_session_is_compared_by_its_rows(service: Service, url: str) -> None:
    with closing(open_input(url, service.connection())) as table:
        version = replace(version_of(table), snapshot_id="no-such-session")
    with closing(open_input(url, service.connection(), version)) as table:
        assert table.read_rows(0, ROWS) == RECORDS
