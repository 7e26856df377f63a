from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage.errors import BadRow, UsageError
from storage.records import (
    INPUT_COLUMNS,
    MAX_MESSAGE_CHARACTERS,
    OUTPUT_COLUMNS,
    Execution,
    Failure,
    Record,
    ResultRow,
    VideoRow,
    check_input_columns,
)
from tests.unit.storage.tables.table_rows import EXECUTION, VERDICT, failed, record_of, succeeded

TEXT = st.text(st.characters(exclude_categories=["Cs"]))
SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text()
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXT,
    lambda children: st.lists(children, max_size=3) | st.dictionaries(TEXT, children, max_size=3),
    max_leaves=8,
)
OBJECTS = st.dictionaries(TEXT, JSON, max_size=4)
RECORDS = st.fixed_dictionaries(dict.fromkeys(INPUT_COLUMNS, SCALARS), optional={"title": SCALARS, "frames": SCALARS})


def video_row(**columns: str | float | bool | None) -> VideoRow:
    return VideoRow.from_record(record_of(7, **columns), run_id="run", ordinal=7)


# ── columns ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_columns_beside_the_required_ones_are_extra_in_their_order() -> None:
    assert check_input_columns(["b", *INPUT_COLUMNS, "a"], "videos.csv") == ("b", "a")


def test_every_missing_column_is_named_with_those_found() -> None:
    with pytest.raises(UsageError, match=r"videos\.csv lacks video_tag, info \(columns found: video_id, oss_bucket"):
        check_input_columns(["video_id", "oss_bucket", "video_path"], "videos.csv")
    with pytest.raises(UsageError, match="found: none"):
        check_input_columns([], "videos.csv")


@pytest.mark.parametrize("twice", [["info"], ["title", "title"], ["title", "Title"]])
def test_a_column_that_is_there_twice_is_refused(twice: list[str]) -> None:
    with pytest.raises(UsageError, match="more than one column named"):
        check_input_columns([*INPUT_COLUMNS, *twice], "videos.csv")


@pytest.mark.parametrize("column", ["result_info", "video_oss_url", "Result_Info", "INFO"])
def test_an_extra_column_with_an_output_columns_name_is_not_carried(column: str) -> None:
    assert check_input_columns([*INPUT_COLUMNS, column], "videos.csv") == ()
    row = VideoRow.from_record({**record_of(1), column: "old"}, run_id="run", ordinal=1)
    assert row.extras == {}


# ── rows in ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_sound_record_becomes_a_row() -> None:
    row = video_row(title="Été", frames=48)
    assert (row.run_id, row.ordinal, row.video_id) == ("run", 7, "v7")
    assert (row.oss_bucket, row.video_path, row.video_tag) == ("videos", "2025/7.mp4", "demo")
    assert row.info == {"use_alluxio": True}
    assert row.extras == {"title": "Été", "frames": 48}


@pytest.mark.parametrize("column", ["video_id", "oss_bucket", "video_path"])
@pytest.mark.parametrize("wrong", [None, "", 7, 0.5, True])
def test_an_id_bucket_or_path_of_another_type_is_a_bad_row(column: str, wrong: float | str | None) -> None:
    if (column, wrong) != ("video_id", 7):  # a whole number names a video, see below
        with pytest.raises(BadRow, match=column):
            video_row(**{column: wrong})
    record = record_of(7)
    del record[column]
    with pytest.raises(BadRow, match=column):
        VideoRow.from_record(record, run_id="run", ordinal=7)


@pytest.mark.parametrize(("value", "text"), [(7.0, "7"), (-3.0, "-3"), (2.0**53, str(2**53)), (7, "7"), ("7.0", "7.0")])
def test_a_whole_number_as_a_float_is_the_same_id_in_input_and_output(value: float | str, text: str) -> None:
    record = {**record_of(7), "video_id": value, "video_tag": value}
    row = VideoRow.from_record(record, run_id="run", ordinal=7)
    assert (row.video_id, row.video_tag) == (text, text)
    failure = Failure(code="bad_row", stage="download", message="", attempts=1)
    failed = ResultRow.failed(record, run_id="run", ordinal=7, failure=failure, execution=EXECUTION)
    assert (failed.video_id, failed.video_tag) == (text, text)


def test_a_float_that_is_too_large_to_be_exact_names_no_video() -> None:
    with pytest.raises(BadRow, match="too large to be exact: cast it"):
        video_row(video_id=2.0**53 + 2)


def test_text_that_no_table_can_hold_is_a_bad_row() -> None:
    with pytest.raises(BadRow, match="Unicode"):
        video_row(video_path="a\udcff.mp4")


@pytest.mark.parametrize(
    "info",
    [
        "{", "[]", "1", "null", " ", "'{}'", 1, True, '{"a": NaN}', '{"a": -Infinity}', '{"a": 1e999}',
        '{"a": "\\ud800"}', "[" * 5000, '{"a":' * 200 + "1" + "}" * 200, '{"a": ' + "1" * 5000 + "}",
    ],
)  # fmt: skip
def test_an_info_that_is_no_json_object_is_a_bad_row(info: str | float) -> None:
    with pytest.raises(BadRow, match="info"):
        video_row(info=info)


@pytest.mark.parametrize("info", [None, "", "{}", " {} "])
def test_an_info_without_content_is_empty(info: str | None) -> None:
    assert video_row(info=info).info == {}


@pytest.mark.parametrize(("tag", "text"), [(None, ""), ("x", "x"), (5, "5"), (True, "true")])
def test_a_tag_is_text(tag: str | float | None, text: str) -> None:
    assert video_row(video_tag=tag).video_tag == text


@pytest.mark.parametrize(
    ("asked", "uses"),
    [("true", True), ('"true"', True), ('"True"', True), ("1", True), ("false", False), ('"false"', False),
     ("0", False), ("null", False), ('"yes"', False), ("[1]", False), ("2", False)],
)  # fmt: skip
def test_alluxio_is_used_where_info_asks_for_it(asked: str, uses: bool) -> None:
    assert video_row(info=f'{{"use_alluxio": {asked}}}').uses_alluxio is uses


def test_alluxio_is_not_used_unasked() -> None:
    assert not video_row(info="").uses_alluxio


# ── rows out ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_success_has_exactly_the_output_columns_and_the_extra_ones() -> None:
    record = succeeded(7, title="Été").to_record()
    assert list(record) == [*OUTPUT_COLUMNS, "title"]
    assert record["video_oss_url"] == "oss://videos/2025/7.mp4"
    assert json.loads(str(record["info"])) == {"use_alluxio": True, **VERDICT}
    assert json.loads(str(record["result_info"])) == {
        "succeed": "true",
        "start_time": "2025-01-15T12:00:00.000+00:00",
        "end_time": "2025-01-15T12:00:02.000+00:00",
        "avg_cost": 2.0,
        "device_name": "cpu",
        "device_info": "",
        "run_id": "run",
        "ordinal": 7,
        "attempt": 1,
        "tier": None,
        "stages": {},
        "models": {},
        "untrained": False,
        "decoded_fraction": None,
    }


def test_a_failure_says_why_and_keeps_the_inputs_info() -> None:
    row = failed(7)
    assert row.info == {"use_alluxio": True}
    assert row.result_info["succeed"] == "false"
    assert row.result_info["attempt"] == 2
    assert row.result_info["error"] == {"code": "corrupt_video", "stage": "decode", "message": "no video stream"}


def test_outcomes_are_ok_or_the_failures_code() -> None:
    assert (succeeded(1).outcome, succeeded(1).is_ok) == ("ok", True)
    assert (failed(1).outcome, failed(1).is_ok) == ("corrupt_video", False)


def test_the_verdict_replaces_an_older_one_in_the_inputs_info() -> None:
    row = succeeded(1, info='{"vfx_filter": "old", "camera": "A"}')
    assert row.info == {"camera": "A", **VERDICT}


def test_non_ascii_text_stays_readable_and_equal_rows_have_equal_text() -> None:
    first = succeeded(1, info='{"a": "映像", "b": 1}').to_record()
    second = succeeded(1, info='{"b": 1, "a": "映像"}').to_record()
    assert "映像" in str(first["info"])
    assert first == second


def test_times_are_utc_with_milliseconds() -> None:
    shanghai = timezone(timedelta(hours=8))
    execution = replace(EXECUTION, start_time=datetime(2025, 1, 15, 8, 0, 0, 123_999, tzinfo=shanghai))
    assert execution.to_result_info()["start_time"] == "2025-01-15T00:00:00.123+00:00"


def test_a_time_without_a_zone_is_a_bug() -> None:
    naive = datetime(2025, 1, 15, tzinfo=UTC).replace(tzinfo=None)
    execution = Execution(start_time=naive, end_time=naive, avg_cost_seconds=0.0)
    with pytest.raises(ValueError, match="no time zone"):
        execution.to_result_info()


@pytest.mark.parametrize(
    ("bucket", "path", "url"),
    [("videos", "a.mp4", "oss://videos/a.mp4"), ("videos", "oss://videos/a.mp4", "oss://videos/a.mp4"),
     (None, "a.mp4", "a.mp4"), ("videos", None, "")],
)  # fmt: skip
def test_the_oss_url_uses_the_columns_that_are_valid(bucket: str | None, path: str | None, url: str) -> None:
    assert failed(1, oss_bucket=bucket, video_path=path).video_oss_url == url


def test_a_long_or_undecodable_message_is_cut_and_escaped() -> None:
    failure = Failure(code="x", stage="download", message="\udcff" + "x" * 10_000, attempts=1)
    row = ResultRow.failed(record_of(1), run_id="run", ordinal=1, failure=failure, execution=EXECUTION)
    message = row.result_info["error"]["message"]
    assert message.startswith("\\udcff")
    assert len(message) == MAX_MESSAGE_CHARACTERS


@given(RECORDS, st.integers(0, 2**53), st.booleans(), OBJECTS)
def test_any_record_however_malformed_gets_a_row_that_survives_the_table_and_the_ledger(
    record: Record, ordinal: int, is_ok: bool, verdict: dict[str, object]
) -> None:
    failure = Failure(code="bad_row", stage="feed", message="why", attempts=1)
    row = (
        ResultRow.succeeded(record, run_id="run", ordinal=ordinal, verdict_info=verdict, execution=EXECUTION)
        if is_ok
        else ResultRow.failed(record, run_id="run", ordinal=ordinal, failure=failure, execution=EXECUTION)
    )
    assert ResultRow.from_record(row.to_record()) == row
    assert ResultRow.from_bytes(row.to_bytes()) == row
    assert all(str(value).encode() is not None for value in row.to_record().values())
    assert (row.outcome, row.ordinal, row.run_id) == ("ok" if is_ok else "bad_row", ordinal, "run")


@given(RECORDS)
def test_a_record_that_is_accepted_says_the_same_as_its_result_row(record: Record) -> None:
    try:
        row = VideoRow.from_record(record, run_id="run", ordinal=0)
    except BadRow:
        return
    result = ResultRow.succeeded(record, run_id="run", ordinal=0, verdict_info={}, execution=EXECUTION)
    assert (row.video_id, row.oss_bucket, row.video_tag) == (result.video_id, result.oss_bucket, result.video_tag)
    assert (row.info, row.extras) == (result.info, result.extras)


@pytest.mark.parametrize("extra", [2**63, -(2**63) - 1, float("nan"), float("inf"), "\ud800"])
def test_extra_values_that_tables_cannot_hold_are_converted(extra: str | float) -> None:
    carried = succeeded(1, title=extra).to_record()["title"]
    assert carried == {2**63: str(2**63), -(2**63) - 1: str(-(2**63) - 1), "\ud800": "\\ud800"}.get(extra)


def test_results_compress() -> None:
    assert len(succeeded(1).to_bytes()) < len(json.dumps(succeeded(1).to_record())) * 0.75


@pytest.mark.parametrize(
    "result_info", [None, "", "{", "[]", "{}", '{"run_id": "r"}', '{"run_id": "r", "ordinal": "x"}']
)
def test_a_record_that_tamis_did_not_write_is_refused(result_info: str | None) -> None:
    with pytest.raises(BadRow, match="result_info"):
        ResultRow.from_record({**succeeded(1).to_record(), "result_info": result_info})


def test_a_verdict_that_is_not_finite_cannot_be_written() -> None:
    row = succeeded(1, verdict={"vfx_filter": {"prob": float("nan")}})
    with pytest.raises(ValueError, match="not JSON compliant"):
        row.to_record()


def test_an_integer_video_id_becomes_its_text() -> None:
    assert video_row(video_id=17).video_id == "17"
