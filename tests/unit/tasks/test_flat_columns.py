"""``--flat-columns``: a run's output table has plain columns for status, decision and facts beside the JSON ones."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from inference.manifest import load_manifest
from storage.errors import UsageError
from storage.records import Execution, ResultRow
from tasks import pipeline
from tasks.messages import RowMessage
from tasks.resources.runtime import Runtime
from tasks.submit import prepare
from tests.unit.tasks.small_run import SHARD_ROWS, Published, finish

NOW = datetime(2025, 1, 15, tzinfo=UTC)
COLUMNS = "video_id, run, status, error_code, keep, drop_reason, decided_by, video_width, video_duration_seconds"


def write_input(path: Path, *, extra: str) -> str:
    with closing(sqlite3.connect(path)) as db, db:
        db.execute(f"CREATE TABLE v (video_id, oss_bucket, video_path, video_tag, info, {extra})")
        rows = [(f"video{n}", f"x{n}") for n in range(SHARD_ROWS)]
        db.executemany("INSERT INTO v VALUES (?, 'bucket', 'a.mp4', 't', '', ?)", rows)
    return f"sqlite:///{path}#v"


def judged(row: RowMessage) -> ResultRow:
    execution = Execution(
        start_time=NOW,
        end_time=NOW,
        avg_cost_seconds=1.0,
        video={"width": 640, "duration_seconds": 2.5, "codec": "h264"},
        decision={"keep": "drop", "reasons": ["vfx_filter", "simcam_filter"], "decided_by": "abc"},
    )
    info = {"vfx_filter": {"result": {}, "label": "VFX_video", "prob": 0.9}}
    return ResultRow.succeeded(
        row.record, run_id=row.run_id, ordinal=row.ordinal, verdict_info=info, execution=execution
    )


def test_judged_and_failed_rows_have_their_plain_columns(rt: Runtime, tmp_path: Path) -> None:
    tables = write_input(tmp_path / "in.db", extra="extra")
    outputs = f"sqlite:///{tmp_path}/out.db#r"
    request = prepare(tables, outputs, frozenset({"vfx_enable"}), load_manifest("tiny"), has_flat_columns=True)
    run, _ = rt.ledger.submit(
        request.spec, total_rows=SHARD_ROWS, shard_rows=SHARD_ROWS, extra_columns=request.extra_columns
    )
    published = Published()
    pipeline.feed(run.run_id, rt, published)
    first, *others = published
    pipeline.record(first, judged(first), rt)
    (shard_id,) = finish(others, rt)
    assert pipeline.write_shard(run.run_id, shard_id, rt)
    with closing(sqlite3.connect(tmp_path / "out.db")) as db:
        found = db.execute(f"SELECT {COLUMNS}, extra FROM r ORDER BY video_id").fetchall()
    reasons = "vfx_filter,simcam_filter"
    assert found[0] == ("video0", run.run_id, "ok", None, "drop", reasons, "abc", 640, 2.5, "x0")
    assert found[1] == ("video1", run.run_id, "failed", "not_a_video", None, None, None, None, None, "x1")
    again = next(rt.output_table(run).results(run.run_id))
    assert again == replace(judged(first), extras=again.extras, result_info=again.result_info)


def test_an_input_column_of_a_flat_columns_name_is_refused(tmp_path: Path, rt: Runtime) -> None:
    tables = write_input(tmp_path / "in.db", extra="Status")
    with pytest.raises(UsageError, match=r"--flat-columns writes status too\. Rename the input's column"):
        prepare(
            tables,
            f"sqlite:///{tmp_path}/out.db#r",
            frozenset({"vfx_enable"}),
            load_manifest("tiny"),
            has_flat_columns=True,
        )
