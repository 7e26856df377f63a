"""Samples and limits: the same rows each time, in order, and part of a run's identity."""

from __future__ import annotations

import json
from contextlib import closing
from dataclasses import replace
from fractions import Fraction

import pytest

from storage.errors import UsageError
from storage.records import INPUT_COLUMNS
from storage.tables.open import open_input
from storage.tables.selection.selection import BLOCK_ROWS, RowSelection, is_sampled, share_of
from tests.unit.storage.ledger.ledger_steps import SPEC

ROWS = 2 * BLOCK_ROWS + 500


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("tables") / "in.jsonl"
    rows = (dict.fromkeys(INPUT_COLUMNS, "") | {"video_id": f"v{n}"} for n in range(ROWS))
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def ids(url: str, selection: RowSelection, start: int = 0, count: int = ROWS) -> list[object]:
    with closing(open_input(url, selection=selection.to_json())) as table:
        return [row["video_id"] for row in table.read_rows(start, count)]


def test_a_sample_has_about_its_share_of_the_rows_the_same_each_time_and_all_of_a_smaller_one(url: str) -> None:
    tenth, fifth = ids(url, RowSelection(sample="10%")), ids(url, RowSelection(sample="20%"))
    assert 200 < len(tenth) < 300
    assert tenth == ids(url, RowSelection(sample="10%"))
    assert set(tenth) < set(fifth)
    assert fifth == sorted(fifth, key=lambda one: int(str(one)[1:])), "in the table's order"
    assert len(ids(url, RowSelection(sample="100%"))) == ROWS


def test_rows_of_a_selection_are_read_from_any_place(url: str) -> None:
    selection = RowSelection(sample="10%")
    whole = ids(url, selection)
    with closing(open_input(url, selection=selection.to_json())) as table:
        assert [row["video_id"] for row in table.read_rows(150, 20)] == whole[150:170]
        assert [row["video_id"] for row in table.read_rows(0, 5)] == whole[:5]
        assert table.count_rows() == len(whole)
        assert table.read_rows(len(whole), 5) == []


def test_a_limit_counts_the_rows_that_are_left_and_may_exceed_them(url: str) -> None:
    assert ids(url, RowSelection(limit=3)) == ["v0", "v1", "v2"]
    assert ids(url, RowSelection(sample="10%", limit=4)) == ids(url, RowSelection(sample="10%"))[:4]
    with closing(open_input(url, selection=RowSelection(limit=10 * ROWS).to_json())) as table:
        assert table.count_rows() == ROWS


def test_a_row_without_an_id_is_sampled_by_its_address() -> None:
    rows = [{"video_id": "", "oss_bucket": "b", "video_path": str(number)} for number in range(200)]
    assert 0 < sum(is_sampled(row, Fraction(1, 2)) for row in rows) < 200


@pytest.mark.parametrize("text", ["1", "0%", "101%", "-1%", "many", "%"])
def test_a_sample_that_is_no_share_is_named(text: str) -> None:
    with pytest.raises(UsageError, match="give a share above 0% and up to 100%"):
        share_of(text)


def test_each_selection_is_another_run_and_all_rows_are_the_run_of_older_releases() -> None:
    selections = [RowSelection(), RowSelection(where="tag = 'a'"), RowSelection(sample="1%"), RowSelection(limit=1)]
    assert len({replace(SPEC, selection=one.to_json()).run_id for one in selections}) == len(selections)
    assert replace(SPEC, selection=RowSelection().to_json()).run_id == SPEC.run_id
    assert [RowSelection.from_json(one.to_json()) for one in selections] == selections
