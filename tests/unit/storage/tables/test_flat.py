"""Flat export to Parquet: typed columns of identity, status, scores, windows, regions and facts of the file."""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from pyarrow import parquet

from storage.records import FLAT_COLUMNS, OUTPUT_COLUMNS, ResultRow
from storage.tables.export import export_results
from storage.tables.flat import FlatSchema, flat_record, with_flat_columns
from storage.tables.sqlite.output import SqliteOutput
from storage.uri import TableUrl
from tests.unit.storage.tables.table_rows import EXECUTION, failed, record_of, succeeded

WINDOW = {"result": {"low_quality_video": 0.75, "normal_video": 0.25}, "label": "low_quality_video", "prob": 0.75}
VERDICT = {
    "vfx_filter": {"result": {"VFX_video": 0.1, "normal_video": 0.9}, "label": "normal_video", "prob": 0.9},
    "seg_low_quality_filter": {
        "0": {"duration": [0, 4], "low_quality_filter": WINDOW},
        "1": {"duration": [3, 6.5], "low_quality_filter": WINDOW},
    },
    "abnormal_region_info": {
        "boxes": [],
        "regions": [{"label": "logo", "score": 0.9, "box": [1.0, 2.0, 3.0, 4.0], "presence": 0.8}],
        "acted_on": True,
        "reason": None,
    },
    "abnormal_region_crop": {"url": "oss://videos/tamis-crops/1.mp4"},
    "signals": {
        "whole": {"luma": 0.5, "flicker": None},
        "windows": [{"duration": [0, 4], "luma": 0.25, "flicker": None}],
    },
}
FACTS = {"container": "mp4", "codec": "h264", "width": 640, "height": 360, "rotation_degrees": 0, "frames": 150}
FACTS |= {"interlaced": False, "fps": 25.0, "duration_seconds": 6, "size_bytes": 1000}


def judged(ordinal: int, **columns: Any) -> ResultRow:
    execution = replace(EXECUTION, video=FACTS, decoded_fraction=1.0, is_untrained=True, tier="oss")
    record = record_of(ordinal, **columns)
    return ResultRow.succeeded(record, run_id="run", ordinal=ordinal, verdict_info=VERDICT, execution=execution)


@pytest.fixture
def exported(tmp_path: Path) -> Any:
    rows = [judged(0, title="a", frames=1, status="kept"), failed(1, title=None, frames=None, status=None)]
    with closing(SqliteOutput(TableUrl.parse(f"sqlite:///{tmp_path}/out.db#results"))) as table:
        table.prepare(("title", "frames", "status"))
        table.write_batch("batch", rows)
        export_results(table, "run", tmp_path / "r.parquet")
    return parquet.read_table(tmp_path / "r.parquet")


def test_scores_windows_regions_and_facts_have_typed_columns(exported: Any) -> None:
    types = {field.name: str(field.type) for field in exported.schema}
    assert types["ordinal"] == "int64"
    assert types["start_time"] == "timestamp[ms, tz=UTC]"
    assert types["vfx_filter_scores"] == "struct<VFX_video: double, normal_video: double>"
    first = exported.to_pylist()[0]
    assert (first["status"], first["run_id"], first["ordinal"], first["tier"]) == ("ok", "run", 0, "oss")
    assert first["start_time"] == datetime(2025, 1, 15, 12, tzinfo=UTC)
    assert (first["vfx_filter_label"], first["vfx_filter_prob"]) == ("normal_video", 0.9)
    assert first["seg_low_quality_filter_windows"][1] == {
        "start_seconds": 3.0,
        "end_seconds": 6.5,
        "label": "low_quality_video",
        "prob": 0.75,
        "scores": {"low_quality_video": 0.75, "normal_video": 0.25},
    }
    (region,) = first["abnormal_region_regions"]
    assert region == {"label": "logo", "score": 0.9, "presence": 0.8, "x1": 1.0, "y1": 2.0, "x2": 3.0, "y2": 4.0}
    assert (first["abnormal_region_acted_on"], first["abnormal_region_reason"]) == (True, None)
    assert first["abnormal_region_crop_url"] == "oss://videos/tamis-crops/1.mp4"
    assert {name: first[f"video_{name}"] for name in FACTS} == FACTS


def test_signals_have_a_column_of_numbers_each_and_their_windows_one_of_lists(exported: Any) -> None:
    first = exported.to_pylist()[0]
    assert (first["signal_luma"], first["signal_flicker"]) == (0.5, None)
    assert str(exported.schema.field("signal_flicker").type) == "double"
    (window,) = first["signals_windows"]
    assert (window["start_seconds"], window["end_seconds"]) == (0.0, 4.0)
    assert window["scores"] == {"luma": 0.25, "flicker": None}


def test_a_failed_row_has_its_error_and_no_verdict(exported: Any) -> None:
    second = exported.to_pylist()[1]
    assert (second["status"], second["error_code"], second["error_stage"]) == ("failed", "corrupt_video", "decode")
    assert second["error_message"] == "no video stream"
    assert second["attempt"] == 2
    assert [second[name] for name in ("vfx_filter_label", "seg_low_quality_filter_windows", "video_codec")] == [
        None
    ] * 3


def test_the_owners_json_columns_are_text_and_an_extra_column_of_a_taken_name_is_renamed(exported: Any) -> None:
    types = {field.name: str(field.type) for field in exported.schema}
    assert [types[name] for name in OUTPUT_COLUMNS] == ["string"] * len(OUTPUT_COLUMNS)
    assert (types["title"], types["frames"], types["input_status"]) == ("string", "int64", "string")
    assert exported["input_status"].to_pylist() == ["kept", None]


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        ([1, 2], "int64"),
        ([1, 2.5], "double"),
        ([True, False], "bool"),
        ([1, "two"], "string"),
        ([True, 2], "string"),
        ([2**70, 1], "string"),
        ([None, None], "string"),
    ],
)
def test_an_extra_column_has_the_type_of_its_values(values: list[Any], kind: str) -> None:
    columns = FlatSchema()
    for ordinal, value in enumerate(values):
        columns.add(flat_record(succeeded(ordinal, note=value)))
    assert str(columns.arrow().field("note").type) == kind


def test_flat_columns_of_a_row_are_those_of_its_flat_record_and_are_not_repeated_in_it() -> None:
    row = with_flat_columns(judged(0, title="a"))
    assert row.extras.keys() == {"title", *FLAT_COLUMNS}
    assert (row.extras["run"], row.extras["status"], row.extras["video_codec"]) == ("run", "ok", "h264")
    assert flat_record(row) == flat_record(judged(0, title="a"))


def test_flat_columns_of_a_row_that_cannot_be_written_are_those_of_its_failure() -> None:
    extras = with_flat_columns(judged(0)).unwritable((), "refused").extras
    assert [extras[name] for name in ("status", "error_code", "keep")] == ["failed", "row_unwritable", None]


def test_values_of_mixed_types_are_written_as_text() -> None:
    columns, records = FlatSchema(), [flat_record(succeeded(n, note=value)) for n, value in enumerate((1, "two", None))]
    for record in records:
        columns.add(record)
    assert [columns.fit(record)["note"] for record in records] == ["1", "two", None]


def test_columns_of_all_rows_are_there_when_only_a_later_row_has_them() -> None:
    columns = FlatSchema()
    for row in (failed(0), judged(1), succeeded(2, verdict={"new_filter": {"label": "a", "prob": None}})):
        columns.add(flat_record(row))
    names = columns.arrow().names
    assert {"seg_low_quality_filter_windows", "new_filter_label", "abnormal_region_regions"} <= set(names)
    assert len(names) == len(set(names))
