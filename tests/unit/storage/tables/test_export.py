from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from pyarrow import parquet

from storage.errors import BadRow, Unavailable, UsageError
from storage.records import OUTPUT_COLUMNS, ResultRow
from storage.tables import export
from storage.tables.export import export_results
from storage.tables.sqlite.output import SqliteOutput
from storage.uri import TableUrl
from tests.unit.storage.tables.table_rows import failed, query, succeeded

FORMATS = ("jsonl", "csv", "parquet")
ROWS = [
    succeeded(0, title='Été, "映像"\nend', frames=48),
    failed(1, title=None, frames=None),
    succeeded(2, title="", frames=0),
]


@pytest.fixture
def table(tmp_path: Path) -> Iterator[SqliteOutput]:
    with closing(SqliteOutput(TableUrl.parse(f"sqlite:///{tmp_path}/out.db#results/ds=20250115"))) as opened:
        opened.prepare(("title", "frames"))
        opened.write_batch("batch", list(reversed(ROWS)))
        opened.write_batch("other", [succeeded(0, "another run")])
        yield opened


@pytest.fixture
def target(tmp_path: Path) -> Path:
    directory = tmp_path / "exports"
    directory.mkdir()
    return directory


def test_jsonl_has_one_object_a_row(table: SqliteOutput, target: Path) -> None:
    assert export_results(table, "run", target / "r.jsonl") == 3
    records = [json.loads(line) for line in (target / "r.jsonl").read_text().splitlines()]
    assert records == [row.to_record() for row in ROWS]
    assert [ResultRow.from_record(record) for record in records] == ROWS


def test_csv_has_a_header_and_text(table: SqliteOutput, target: Path) -> None:
    assert export_results(table, "run", target / "r.csv") == 3
    with (target / "r.csv").open(newline="") as file:
        records = list(csv.DictReader(file))
    assert list(records[0]) == [*OUTPUT_COLUMNS, "title", "frames"]
    assert [(record["title"], record["frames"]) for record in records] == [
        ('Été, "映像"\nend', "48"),
        ("", ""),
        ("", "0"),
    ]
    assert json.loads(records[1]["result_info"])["error"]["code"] == "corrupt_video"


def test_parquet_has_the_output_columns_typed_extra_columns_and_nulls(
    table: SqliteOutput, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(export, "GROUP_ROWS", 2)
    assert export_results(table, "run", target / "r.parquet") == 3
    read = parquet.read_table(target / "r.parquet")
    assert read.column_names[: len(OUTPUT_COLUMNS)] == list(OUTPUT_COLUMNS)
    assert read["info"].to_pylist() == [row.to_record()["info"] for row in ROWS]
    assert read["title"].to_pylist() == ['Été, "映像"\nend', None, ""]
    assert read["frames"].to_pylist() == [48, None, 0]
    assert parquet.ParquetFile(target / "r.parquet").num_row_groups == 2


@pytest.mark.parametrize("name", FORMATS)
def test_a_run_without_rows_is_a_file_without_rows(table: SqliteOutput, target: Path, name: str) -> None:
    assert export_results(table, "unknown run", target / f"r.{name}") == 0
    assert [path.name for path in target.iterdir()] == [f"r.{name}"]
    if name == "csv":
        assert (target / "r.csv").read_text().strip() == ",".join(OUTPUT_COLUMNS)
    if name == "parquet":
        assert parquet.read_table(target / "r.parquet").num_rows == 0


@pytest.mark.parametrize("name", FORMATS)
def test_an_export_replaces_the_one_before(table: SqliteOutput, target: Path, name: str) -> None:
    (target / f"r.{name}").write_text("old")
    export_results(table, "run", target / f"r.{name}")
    assert "old" not in (target / f"r.{name}").read_bytes().decode(errors="replace")[:100]
    assert [path.name for path in target.iterdir()] == [f"r.{name}"]


@pytest.mark.parametrize("name", FORMATS)
def test_an_export_that_fails_leaves_the_earlier_file(
    table: SqliteOutput, target: Path, tmp_path: Path, name: str
) -> None:
    (target / f"r.{name}").write_text("old")
    query(tmp_path / "out.db", "UPDATE results SET info = '{' WHERE video_id = 'v2'")
    with pytest.raises(BadRow, match="column info is not valid JSON"):
        export_results(table, "run", target / f"r.{name}")
    assert (target / f"r.{name}").read_text() == "old"
    assert [path.name for path in target.iterdir()] == [f"r.{name}"]


def test_an_unknown_export_format_is_refused_before_any_read(table: SqliteOutput, target: Path) -> None:
    with pytest.raises(UsageError, match=r"r\.xlsx: its name must end in \.jsonl, \.csv, \.parquet"):
        export_results(table, "run", target / "r.xlsx")


def test_a_missing_directory_is_not_created(table: SqliteOutput, target: Path) -> None:
    with pytest.raises(UsageError, match="there is no directory"):
        export_results(table, "run", target / "absent" / "r.csv")


def test_a_target_that_cannot_be_replaced_is_reported(table: SqliteOutput, target: Path) -> None:
    (target / "r.csv").mkdir()
    with pytest.raises(Unavailable, match=r"cannot write .*r\.csv"):
        export_results(table, "run", target / "r.csv")
    assert [path.name for path in target.iterdir()] == ["r.csv"]
