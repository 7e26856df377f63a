from __future__ import annotations

import csv
import json
import os
import tracemalloc
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from storage.errors import UsageError
from storage.records import INPUT_COLUMNS, Record
from storage.tables.files import lines
from storage.tables.files.text import MARK_ROWS, TextInput
from storage.uri import TableUrl
from tests.unit.storage.tables.table_rows import record_of

HEADER = ",".join(INPUT_COLUMNS)
LINE = "v1,videos,a.mp4,t,"


def opened(path: Path) -> TextInput:
    return TextInput(TableUrl.parse(str(path)))


def written(tmp_path: Path, name: str, content: str | bytes) -> Path:
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def rows_of(path: Path) -> list[Record]:
    with closing(opened(path)) as table:
        return table.read_rows(0, 1_000_000)


# ── JSON Lines ───────────────────────────────────────────────────────────────────────────────────────────────────────


def test_columns_are_the_first_lines_keys(tmp_path: Path) -> None:
    path = written(tmp_path, "v.jsonl", '\n{"b": 1, "a": "x"}\n{"a": "y"}\n')
    assert opened(path).columns == ("b", "a")
    assert rows_of(path) == [{"b": 1, "a": "x"}, {"b": None, "a": "y"}]


def test_a_nested_value_becomes_its_json_text(tmp_path: Path) -> None:
    path = written(tmp_path, "v.jsonl", '{"info": {"use_alluxio": true, "a": ["é"]}, "tags": [1, null]}')
    assert rows_of(path) == [{"info": '{"a":["é"],"use_alluxio":true}', "tags": "[1,null]"}]


def test_numbers_and_truth_keep_their_type(tmp_path: Path) -> None:
    path = written(tmp_path, "v.jsonl", '{"a": 1, "b": 2.5, "c": true, "d": null, "e": 9223372036854775808}')
    assert rows_of(path) == [{"a": 1, "b": 2.5, "c": True, "d": None, "e": "9223372036854775808"}]


@pytest.mark.parametrize("ending", ["\n", "\r\n", "\n\n", "\n  \n"])
def test_line_endings_blank_lines_and_a_byte_order_mark_do_not_matter(tmp_path: Path, ending: str) -> None:
    path = written(tmp_path, "v.jsonl", "\ufeff" + ending.join(['{"a": 1}', '{"a": 2}', '{"a": 3}']))
    assert rows_of(path) == [{"a": 1}, {"a": 2}, {"a": 3}]


@pytest.mark.parametrize(
    ("line", "why"),
    [
        (b"{", "is not JSON"),
        (b'{"a": 1} {"a": 2}', "is not JSON"),
        (b'{"a": NaN}', "NaN is not JSON"),
        (b'{"a": "\\ud800"}', "is not JSON"),
        (b"[1, 2]", "is not a JSON object"),
        (b'"text"', "is not a JSON object"),
        (b'{"a": "\xff"}', "is not UTF-8"),
        (b'{"a": 1, "c": 2, "b": 3}', "has b, c, which the first line lacks"),
    ],
)
def test_a_wrong_line_is_named(tmp_path: Path, line: bytes, why: str) -> None:
    path = written(tmp_path, "v.jsonl", b'{"a": 1}\n\n{"a": 2}\n' + line + b'\n{"a": 4}\n')
    table = opened(path)
    assert len(table.read_rows(0, 2)) == 2
    for look in (table.count_rows, lambda: table.read_rows(2, 1)):
        with pytest.raises(UsageError, match=rf"v\.jsonl, line 4 .*{why}"):
            look()


def test_a_wrong_first_line_is_named_at_once(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="line 1 is not JSON"):
        opened(written(tmp_path, "v.jsonl", HEADER))


def test_a_line_without_end_is_not_read_into_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lines, "MAX_LINE_BYTES", 1000)
    path = written(tmp_path, "v.jsonl", '{"a": 1}\n{"a": "' + "x" * 1000 + '"}\n')
    with pytest.raises(UsageError, match="line 2 is longer than 1000 bytes"):
        opened(path).count_rows()


# ── CSV ──────────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("value", ["x" * 131_073, "line\n" * 200_000, '"' * 300_000], ids=["long", "lines", "quotes"])
def test_a_long_field_is_read_like_the_same_json_value(tmp_path: Path, value: str) -> None:
    record = {"video_id": "1", "info": value}
    with (tmp_path / "v.csv").open("w", newline="") as file:
        rows = csv.DictWriter(file, list(record), lineterminator="\n")
        rows.writeheader()
        rows.writerow(record)
    written(tmp_path, "v.jsonl", json.dumps(record))
    assert rows_of(tmp_path / "v.csv") == rows_of(tmp_path / "v.jsonl") == [record]


def test_csv_values_are_text_and_what_is_empty_stays_empty(tmp_path: Path) -> None:
    path = written(tmp_path, "v.csv", f"{HEADER},frames\nv1,videos,a.mp4,,,48\n")
    assert rows_of(path) == [record_of(1, video_path="a.mp4", video_tag="", info="", frames="48")]


def test_quoted_fields_may_hold_commas_quotes_and_line_ends(tmp_path: Path) -> None:
    path = written(tmp_path, "v.csv", f'{HEADER}\nv1,videos,"a,\nb\r\n.mp4",t,"{{""x"": 1}}"\n{LINE}\n')
    first, second = rows_of(path)
    assert (first["video_path"], first["info"]) == ("a,\nb\r\n.mp4", '{"x": 1}')
    assert second["video_id"] == "v1"


@pytest.mark.parametrize("ending", ["\n", "\r\n", "\n\n"])
def test_csv_line_endings_blank_lines_and_a_byte_order_mark_do_not_matter(tmp_path: Path, ending: str) -> None:
    path = written(tmp_path, "v.csv", "\ufeff" + ending.join([HEADER, LINE, LINE]))
    assert opened(path).columns == INPUT_COLUMNS
    assert opened(path).count_rows() == 2


@pytest.mark.parametrize(
    ("line", "why"),
    [
        (b"v1,videos,a.mp4", "has 3 fields, the header has 5"),
        (b"v1,videos,a.mp4,t,,,", "has 7 fields, the header has 5"),
        (b'v1,videos,"a"b,t,', "is not CSV"),
        (b'v1,videos,"a.mp4,t,', "is not CSV: unexpected end"),
        (b"v1,videos,\xff,t,", "is not UTF-8"),
    ],
)
def test_a_wrong_row_is_named_by_the_line_it_starts_in(tmp_path: Path, line: bytes, why: str) -> None:
    good = b'v1,videos,"two\nlines",t,'
    path = written(tmp_path, "v.csv", b"\n".join([HEADER.encode(), good, line, LINE.encode()]))
    table = opened(path)
    assert len(table.read_rows(0, 1)) == 1
    with pytest.raises(UsageError, match=rf"v\.csv, line 4 {why}"):
        table.count_rows()


@settings(max_examples=50)
@given(st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\0")), min_size=1, max_size=20))
def test_what_pythons_csv_writes_is_read_as_it_was(tmp_path_factory: pytest.TempPathFactory, texts: list[str]) -> None:
    import csv

    path = tmp_path_factory.mktemp("csv") / "v.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(["a", "b"])
        rows.writerows([text, "end"] for text in texts)
    assert rows_of(path) == [{"a": text, "b": "end"} for text in texts]


# ── big files ────────────────────────────────────────────────────────────────────────────────────────────────────────


def write_many(path: Path, rows: int, padding: str = "") -> None:
    with path.open("w") as file:
        for number in range(rows):
            file.write(json.dumps({"n": number, "padding": padding}) + "\n")


def test_a_range_is_read_from_the_mark_before_it(tmp_path: Path) -> None:
    path = tmp_path / "v.jsonl"
    write_many(path, 5 * MARK_ROWS + 10)
    table = opened(path)
    assert table.count_rows() == 5 * MARK_ROWS + 10
    assert len(table._marks) == 6
    content = bytearray(path.read_bytes())
    content[2] = ord("?")  # the first line makes no sense any more, but the file's time says that it is the same one
    before = path.stat()
    path.write_bytes(content)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert [row["n"] for row in table.read_rows(4 * MARK_ROWS + 3, 2)] == [4 * MARK_ROWS + 3, 4 * MARK_ROWS + 4]
    with pytest.raises(UsageError, match="line 1 "):
        table.read_rows(MARK_ROWS - 1, 1)


@pytest.mark.parametrize("rows", [0, 1, MARK_ROWS - 1, MARK_ROWS, MARK_ROWS + 1, 2 * MARK_ROWS])
def test_counting_is_right_around_a_mark(tmp_path: Path, rows: int) -> None:
    path = tmp_path / "v.jsonl"
    write_many(path, rows)
    table = opened(path)
    assert (table.count_rows(), table.count_rows()) == (rows, rows)
    assert len(table.read_rows(0, rows + 1)) == rows
    assert table.read_rows(rows, 5) == []


def test_a_file_is_counted_and_read_without_holding_it(tmp_path: Path) -> None:
    path = tmp_path / "v.jsonl"
    write_many(path, 3000, padding="x" * 4000)
    tracemalloc.start()
    try:
        table = opened(path)
        assert table.count_rows() == 3000
        assert len(table.read_rows(2900, 50)) == 50
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak_bytes < path.stat().st_size / 4


# ── what the operator must mend ──────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("name", ["v.jsonl", "v.csv"])
def test_an_empty_file_has_neither_columns_nor_rows(tmp_path: Path, name: str) -> None:
    table = opened(written(tmp_path, name, ""))
    assert (table.columns, table.count_rows(), table.read_rows(0, 5)) == ((), 0, [])


def test_a_header_alone_is_a_table_without_rows(tmp_path: Path) -> None:
    table = opened(written(tmp_path, "v.csv", HEADER))
    assert (table.columns, table.count_rows(), table.read_rows(0, 5)) == (INPUT_COLUMNS, 0, [])


def test_a_file_that_changes_while_it_is_read_is_refused(tmp_path: Path) -> None:
    path = written(tmp_path, "v.csv", f"{HEADER}\n{LINE}\n")
    table = opened(path)
    table.read_rows(0, 1)
    with path.open("a") as file:
        file.write(f"{LINE}\n")
    with pytest.raises(UsageError, match="changed while it was read"):
        table.read_rows(0, 1)


def test_a_missing_relative_file_says_where_it_was_looked_for(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="relative to the current directory") as caught:
        TextInput(TableUrl.parse("data/v.csv", cwd=tmp_path))
    assert str(tmp_path / "data/v.csv") in str(caught.value)
    assert "slashes" not in str(caught.value)
