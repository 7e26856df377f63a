from __future__ import annotations

from contextlib import closing
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pytest
from pyarrow import parquet

from storage.errors import UsageError
from storage.tables.files.parquet import ParquetInput
from storage.uri import TableUrl


def opened(path: Path) -> ParquetInput:
    return ParquetInput(TableUrl.parse(str(path)))


def write(path: Path, columns: dict[str, object], row_group_size: int = 1000) -> None:
    parquet.write_table(pa.table(columns), path, row_group_size=row_group_size)


def test_ranges_cross_row_groups(tmp_path: Path) -> None:
    write(tmp_path / "v.parquet", {"n": range(100)}, row_group_size=7)
    with closing(opened(tmp_path / "v.parquet")) as table:
        for start, count in [(0, 100), (6, 2), (7, 7), (13, 30), (98, 2), (3, 1)]:
            assert [row["n"] for row in table.read_rows(start, count)] == list(range(start, start + count))


def test_only_one_row_group_is_held(tmp_path: Path) -> None:
    write(tmp_path / "v.parquet", {"n": range(100)}, row_group_size=10)
    with closing(opened(tmp_path / "v.parquet")) as table:
        table.read_rows(0, 100)
        assert table._group is not None
        number, group = table._group
        assert (number, group.num_rows) == (9, 10)


def test_every_type_becomes_a_json_value(tmp_path: Path) -> None:
    moment = datetime(2025, 1, 15, 12, 30, tzinfo=UTC)
    columns = {
        "i": [1, None], "u": pa.array([2**64 - 1, 0], pa.uint64()), "f": [0.5, float("nan")], "b": [True, False],
        "s": ["é", ""], "raw": [b"abc", b"\xff"], "t": [moment, None], "d": [Decimal("1.50"), None],
        "list": [[1, 2], []], "struct": [{"use_alluxio": True}, None], "kind": pa.array(["x", "y"]).dictionary_encode(),
    }  # fmt: skip
    write(tmp_path / "v.parquet", columns)
    with closing(opened(tmp_path / "v.parquet")) as table:
        first, second = table.read_rows(0, 2)
    assert first == {
        "i": 1, "u": str(2**64 - 1), "f": 0.5, "b": True, "s": "é", "raw": "abc", "t": "2025-01-15 12:30:00+00:00",
        "d": "1.50", "list": "[1,2]", "struct": '{"use_alluxio":true}', "kind": "x",
    }  # fmt: skip
    assert list(second.values()) == [None, 0, None, False, "", "\\xff", None, None, "[]", None, "y"]


@pytest.mark.parametrize("rows", [0, 1])
def test_a_file_may_have_no_rows(tmp_path: Path, rows: int) -> None:
    write(tmp_path / "v.parquet", {"n": pa.array(range(rows), pa.int64())})
    with closing(opened(tmp_path / "v.parquet")) as table:
        assert (table.columns, table.count_rows(), len(table.read_rows(0, 5))) == (("n",), rows, rows)


@pytest.mark.parametrize("content", [b"", b"PAR1", b"video_id,oss_bucket\n" * 10, b"PAR1" + b"\0" * 100 + b"PAR1"])
def test_a_file_that_is_not_parquet_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "v.parquet").write_bytes(content)
    with pytest.raises(UsageError, match=r"v\.parquet is not a Parquet file, or damaged"):
        opened(tmp_path / "v.parquet")


def test_a_file_with_a_damaged_page_is_named(tmp_path: Path) -> None:
    path = tmp_path / "v.parquet"
    write(path, {"text": [f"{n} and some more" for n in range(1000)]})
    content = bytearray(path.read_bytes())
    content[4:2000] = bytes(1996)
    path.write_bytes(content)
    with closing(opened(path)) as table, pytest.raises(UsageError, match="or damaged"):
        table.read_rows(0, 1)


def test_a_file_written_again_while_it_is_read_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "v.parquet", {"n": range(10)})
    with closing(opened(tmp_path / "v.parquet")) as table:
        write(tmp_path / "v.parquet", {"n": range(20)})
        with pytest.raises(UsageError, match="changed while it was read"):
            table.read_rows(0, 1)
