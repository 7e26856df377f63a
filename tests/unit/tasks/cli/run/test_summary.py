"""The summary of a run: the manifest's order, every filter, one message per failure code, row text as data."""

from __future__ import annotations

import io
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from rich.console import Console

from inference.manifest import load_manifest
from storage.ledger import Counts
from storage.records import Execution, Failure, ResultRow
from tasks.cli.run.summary import MOST_ROWS, RunSummary, print_summary

NOW = datetime(2025, 1, 15, tzinfo=UTC)
EXECUTION = Execution(start_time=NOW, end_time=NOW, avg_cost_seconds=0.0)
VFX = {"result": {"VFX_video": 0.9, "normal_video": 0.1}, "label": "VFX_video", "prob": 0.9}
PLAIN = {"result": {"rotated_video": 0.1, "normal_video": 0.9}, "label": "normal_video", "prob": 0.9}
REGIONS = {"regions": [{"label": "logo"}, {"label": "logo"}], "acted_on": True}


def ok(ordinal: int, video: str = "v", *, execution: Execution = EXECUTION, **info: Any) -> ResultRow:
    record = {"video_id": video, "oss_bucket": "b", "video_path": "k", "video_tag": "", "info": ""}
    return ResultRow.succeeded(record, run_id="r", ordinal=ordinal, verdict_info=info, execution=execution)


def failed(ordinal: int, video: str, code: str, message: str) -> ResultRow:
    record = {"video_id": video, "oss_bucket": "b", "video_path": "k", "video_tag": "", "info": ""}
    failure = Failure(code=code, stage="download", message=message, attempts=1)
    return ResultRow.failed(record, run_id="r", ordinal=ordinal, failure=failure, execution=EXECUTION)


def printed(rows: list[ResultRow], width: int = 4096) -> str:
    output = io.StringIO()
    failures: dict[str, int] = {}
    for row in rows:
        if not row.is_ok:
            failures[row.outcome] = failures.get(row.outcome, 0) + 1
    judged = sum(row.is_ok for row in rows)
    counts = Counts(len(rows), judged, len(rows) - judged, failures, len(rows), 0)
    print_summary(RunSummary.of(rows), counts, load_manifest("tiny"), "r", Console(file=output, width=width))
    return output.getvalue()


MIXED = [
    ok(0, rotate_vertical_filter=PLAIN, vfx_filter=VFX, abnormal_region_info=REGIONS),
    ok(1, rotate_vertical_filter=PLAIN, vfx_filter=VFX, abnormal_region_info={"regions": [], "acted_on": False}),
]


def test_columns_stand_in_the_manifests_order_and_regions_have_one() -> None:
    heads = printed(MIXED).splitlines()[2].split()
    assert heads == ["#", "video", "tier", "vfx", "rotate", "vertical", "abnormal", "region"]
    assert "logo, cropped" in printed(MIXED)
    assert "none" in printed(MIXED)


def test_normal_is_explained_for_the_shown_filters() -> None:
    assert "normal means: not VFX (vfx); not rotated (rotate vertical)" in printed(MIXED)


def test_many_rows_are_counted_by_filter_and_verdict() -> None:
    many = [ok(number, rotate_vertical_filter=PLAIN, vfx_filter=VFX) for number in range(MOST_ROWS + 1)]
    lines = [" ".join(line.split()) for line in printed(many).splitlines()]
    assert f"vfx VFX {MOST_ROWS + 1}" in lines
    assert f"rotate vertical normal (not rotated) {MOST_ROWS + 1}" in lines


def test_videos_that_were_not_decoded_are_counted_where_there_are_any() -> None:
    recalled = replace(EXECUTION, stages_milliseconds={"download": 1.0, "recall": 1.0, "score": 1.0})
    rows = [ok(0), ok(1, execution=recalled), failed(2, "v", "not_a_video", "m")]
    assert "1 of 2 videos judged from remembered features, nothing decoded" in printed(rows)
    assert "remembered" not in printed(rows[::2])


def test_failures_of_many_rows_have_one_message_per_code_and_a_command_that_lists_them() -> None:
    many = [failed(number, f"v{number}", "object_missing", f"no object {number}") for number in range(MOST_ROWS)]
    shown = printed([*many, failed(MOST_ROWS, "last", "forbidden_path", "leaves its bucket")])
    assert "row 0, v0: no object 0" in shown
    assert "no object 1" not in shown
    assert f"row {MOST_ROWS}, last: leaves its bucket" in shown
    assert "`tamis runs r --failures`" in shown


@pytest.mark.parametrize("video", ["clip[/x]", "[red]", "a\x1b]0;owned\x07", "a\nrows 0 = ok 0", "\ud800", ":smile:"])
@pytest.mark.parametrize("is_many", [False, True])
def test_row_text_is_shown_as_data(video: str, is_many: bool) -> None:
    rows = [ok(0, video, vfx_filter=VFX), failed(1, video, "object_missing", f"no [bold]{video}")]
    others = [ok(number, vfx_filter=VFX) for number in range(2, MOST_ROWS + 2)] if is_many else []
    shown = printed([*rows, *others])
    escaped = video.encode("unicode_escape").decode()
    assert f"no [bold]{escaped}" in shown
    assert shown.count("\nrows ") == 1
    assert "\x1b" not in shown


def test_the_total_time_goes_from_the_first_rows_start_to_the_last_rows_end() -> None:
    def row(ordinal: int, begun_minute: int) -> ResultRow:
        begun = NOW + timedelta(minutes=begun_minute)
        execution = Execution(start_time=begun, end_time=begun + timedelta(seconds=5), avg_cost_seconds=0.0)
        record = {"video_id": "v", "oss_bucket": "b", "video_path": "k", "video_tag": "", "info": ""}
        return ResultRow.succeeded(record, run_id="r", ordinal=ordinal, verdict_info={}, execution=execution)

    assert "time: 2:05, from 2025-01-15 00:01:00 to 2025-01-15 00:03:05 UTC" in printed([row(0, 3), row(1, 1)])
    assert "time:" not in printed([])


def test_lines_of_a_pipe_have_no_trailing_spaces() -> None:
    assert all(line == line.rstrip() for line in printed(MIXED).splitlines())


def test_a_narrow_output_keeps_the_totals_whole() -> None:
    assert "rows 2 = ok 2 + failed 0 + in flight 0" in printed(MIXED, width=60)
