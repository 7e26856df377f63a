"""The rows of a gallery: one run, the newest row of each identity, from an output table or its export."""

from __future__ import annotations

import re
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from storage.errors import UsageError
from storage.records import ResultRow
from storage.tables.open import open_input
from tasks.gallery.rows import ShownRows, select_rows, selected_rows
from tests.browser.results import row


def export(path: Path, rows: list[ResultRow], *more: str) -> str:
    from storage.json_text import write

    path.write_text("".join(f"{line}\n" for line in [*(write(one.to_record()) for one in rows), *more]))
    return str(path)


def selected(url: str, run: str | None = None, limit: int | None = None) -> tuple[ShownRows, list[ResultRow]]:
    with closing(open_input(url)) as table:
        selection = select_rows(table, run, limit)
        return selection, list(selected_rows(table, selection))


def test_of_two_rows_with_one_identity_the_later_one_is_shown(tmp_path: Path) -> None:
    rows = [row(0, minute=5, attempt=2), row(1), row(0, minute=1), row(1, attempt=2)]
    selection, found = selected(export(tmp_path / "out.jsonl", rows))
    assert [(one.ordinal, one.result_info["attempt"]) for one in found] == [(0, 2), (1, 2)]
    assert selection.replaced == 2


def test_the_newest_run_is_shown_and_the_others_are_named(tmp_path: Path) -> None:
    rows = [row(0, run="old"), row(1, run="old"), row(0, run="new", minute=3)]
    url = export(tmp_path / "out.jsonl", rows)
    selection, found = selected(url)
    assert (selection.run_id, selection.other_runs, len(found)) == ("new", ("old",), 1)
    assert len(selected(url, "ol")[1]) == 2
    assert [one.ordinal for one in selected(url, "old", limit=1)[1]] == [0]


def test_rows_of_other_programs_are_counted_and_left_out(tmp_path: Path) -> None:
    url = export(tmp_path / "out.jsonl", [row(0)], '{"video_id": "x", "result_info": "{}"}', '{"video_id": "y"}')
    selection, found = selected(url)
    assert (selection.foreign, len(found)) == (2, 1)


def test_a_table_without_results_and_a_run_that_is_not_there_are_clear_errors(tmp_path: Path) -> None:
    empty = export(tmp_path / "none.jsonl", [], '{"video_id": "x"}')
    with pytest.raises(UsageError, match="holds no results of tamis"):
        selected(empty)
    url = export(tmp_path / "out.jsonl", [row(0, run="abc"), row(0, run="abd")])
    with pytest.raises(UsageError, match=re.escape("'x' is no run in")):
        selected(url, "x")
    with pytest.raises(UsageError, match="is the start of several runs"):
        selected(url, "ab")


def test_the_addresses_of_judged_videos_and_the_digest_of_their_thresholds_come_with_the_first_reading(
    tmp_path: Path,
) -> None:
    decided = row(1)
    decision = {"keep": "drop", "reasons": ["vfx_filter"], "decided_by": "t1"}
    decided = replace(decided, result_info={**decided.result_info, "decision": decision})
    with closing(open_input(export(tmp_path / "out.jsonl", [row(0), decided]))) as table:
        selection = select_rows(table, has_strips=True)
        assert selection.decided_by == "t1"
        assert [*selection.strips] == [one.video_oss_url for one in selected_rows(table, selection) if one.is_ok]
