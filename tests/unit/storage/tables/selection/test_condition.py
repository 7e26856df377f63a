"""Conditions: what they mean, that SQLite means the same, and what is refused."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from storage.errors import UsageError
from storage.records import INPUT_COLUMNS
from storage.tables.open import open_input
from storage.tables.selection.condition import bind
from storage.tables.selection.parse import parse_condition
from storage.tables.selection.selection import RowSelection
from storage.tables.sqlite.input import SqliteInput
from storage.uri import TableUrl

ROW = {"video_id": "a", "video_tag": "street", "score": 0.5, "lang": None, "path's": "x"}


def holds(text: str) -> bool | None:
    return bind(parse_condition(text), tuple(ROW), text).holds(ROW)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("tag = 'street'", True),
        ("TAG == 'street' and Score >= 0.5", True),
        ("video_tag <> 'street' OR score < 1e1", True),
        ("tag = 'Street'", False),
        ("score = '0.5'", False),
        ("score != '0.5'", True),
        ("tag > 0", False),
        ("lang = 'de'", None),
        ("NOT lang = 'de'", None),
        ("lang = 'de' OR tag = 'street'", True),
        ("lang = 'de' AND tag = 'x'", False),
        ("lang IS NULL AND tag IS NOT NULL", True),
        ("tag IN ('city', 'street')", True),
        ("tag NOT IN ('city', 'street')", False),
        ("lang IN ('de')", None),
        ("tag LIKE 'str%t' AND tag LIKE '_treet'", True),
        ("tag NOT LIKE 'S%'", True),
        ("tag LIKE 's.*'", False),
        ("\"path's\" = 'x'", True),
        ("NOT (tag = 'a' OR tag = 'b')", True),
        ("tag = 'it''s'", False),
    ],
)
def test_a_condition_holds_fails_or_is_unknown(text: str, expected: bool | None) -> None:
    assert holds(text) is expected


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "it ends too early"),
        ("tag = ", "it ends too early"),
        ("tag = street", "not understood at 'street'"),
        ("tag = 'a' tag", "not understood at 'tag'"),
        ("upper(tag) = 'A'", "not understood at '(tag)"),
        ("tag = 'a'; DROP TABLE x", "not understood at '; DROP"),
        ("tag LIKE 1", "not understood at '1'"),
        ("tag NOT = 'a'", "not understood at '= "),
        ("colour = 'red'", "no column 'colour' (columns found: video_id, video_tag"),
        ("score = 1e999", "not understood at '1e999'"),
        ("NOT " * 60 + "tag = 'a'", "nested more than"),
    ],
)
def test_what_is_not_understood_is_named_with_its_place(text: str, said: str) -> None:
    with pytest.raises(UsageError) as error:
        holds(text)
    assert said in str(error.value).replace('"', "'")


VALUES = st.one_of(
    st.none(),
    st.sampled_from(["street", "Street", "5", "1.0", "*", "a*b", "[x]", "é", ""]),
    st.integers(-3, 3),
    st.sampled_from([0.5, 1.0, -2.5, 1e300]),
)
LITERALS = st.one_of(
    st.integers(-3, 3).map(str), st.sampled_from(["0.5", "1.0", "'street'", "'5'", "'1.0'", "''", "'é'", "'a*b'"])
)
SINGLE = st.one_of(
    st.tuples(st.sampled_from("ab"), st.sampled_from(["=", "!=", "<", "<=", ">", ">="]), LITERALS).map(" ".join),
    st.tuples(st.sampled_from("ab"), st.lists(LITERALS, min_size=1, max_size=3)).map(
        lambda one: f"{one[0]} IN ({', '.join(one[1])})"
    ),
    st.tuples(st.sampled_from("ab"), st.sampled_from(["%", "s%", "_treet", "%*%", "[x]", ""])).map(
        lambda one: f"{one[0]} LIKE '{one[1]}'"
    ),
    st.sampled_from(["a IS NULL", "b IS NOT NULL"]),
)
CONDITIONS = st.recursive(
    SINGLE,
    lambda inner: st.one_of(
        inner.map(lambda one: f"NOT ({one})"),
        st.tuples(inner, st.sampled_from(["AND", "OR"]), inner).map(lambda one: f"({one[0]}) {one[1]} ({one[2]})"),
    ),
    max_leaves=4,
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=st.lists(st.tuples(VALUES, VALUES), min_size=1, max_size=8), text=CONDITIONS)
@pytest.mark.parametrize("kinds", [("TEXT", "NUMERIC"), ("", "REAL")])
def test_sqlite_chooses_the_rows_that_every_other_table_chooses(
    kinds: tuple[str, str], rows: list[tuple[object, object]], text: str, tmp_path: Path
) -> None:
    path = tmp_path / "rows.db"
    path.unlink(missing_ok=True)
    with closing(sqlite3.connect(path)) as db, db:
        db.execute(f"CREATE TABLE t (a {kinds[0]} COLLATE NOCASE, b {kinds[1]})")
        db.executemany("INSERT INTO t VALUES (?, ?)", rows)
    with closing(SqliteInput(TableUrl.parse(f"sqlite:///{path}#t"))) as table:
        condition = bind(parse_condition(text), table.columns, text)
        every = table.read_rows(0, 100)
        with closing(table.matching(condition)) as matching:
            assert matching.read_rows(0, 100) == [row for row in every if condition.holds(row) is True]
            assert matching.count_rows() == len(matching.read_rows(0, 100))


def test_a_pushed_down_condition_keeps_to_its_partition_and_to_ordinals(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "in.db")) as db, db:
        db.execute(f"CREATE TABLE v ({', '.join(INPUT_COLUMNS)}, ds)")
        rows = [(str(n), "b", "k", "odd" if n % 2 else "even", "", "1" if n < 500 else "2") for n in range(1000)]
        db.executemany("INSERT INTO v VALUES (?, ?, ?, ?, ?, ?)", rows)
    chosen = RowSelection(where="tag = 'odd' OR tag = 'none'").to_json()
    with closing(open_input(f"sqlite:///{tmp_path}/in.db#v/ds=2", selection=chosen)) as table:
        assert table.count_rows() == 250
        assert [row["video_id"] for row in table.read_rows(248, 10)] == ["997", "999"]
        assert [row["video_id"] for row in table.read_rows(0, 2)] == ["501", "503"]


def test_a_line_file_and_a_database_choose_the_same_rows(tmp_path: Path) -> None:
    records = [dict.fromkeys(INPUT_COLUMNS, "x") | {"video_id": f"v{n}", "video_tag": f"t{n % 3}"} for n in range(50)]
    (tmp_path / "in.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    with closing(sqlite3.connect(tmp_path / "in.db")) as db, db:
        db.execute(f"CREATE TABLE v ({', '.join(INPUT_COLUMNS)})")
        db.executemany("INSERT INTO v VALUES (?, ?, ?, ?, ?)", [tuple(record.values()) for record in records])
    chosen = RowSelection(where="tag != 't1'", sample="50%", limit=9).to_json()
    found = []
    for url in (str(tmp_path / "in.jsonl"), f"sqlite:///{tmp_path}/in.db#v"):
        with closing(open_input(url, selection=chosen)) as table:
            found.append((table.count_rows(), table.read_rows(0, 20), table.read_rows(3, 2)))
    assert found[0] == found[1]
    assert found[0][0] == 9
    assert found[0][2] == found[0][1][3:5]
