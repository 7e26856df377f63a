"""Rows for tests of tables."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

from storage.json_text import Scalar
from storage.records import INPUT_COLUMNS, Execution, Failure, Record, ResultRow

START = datetime(2025, 1, 15, 12, tzinfo=UTC)
EXECUTION = Execution(start_time=START, end_time=START.replace(second=2), avg_cost_seconds=2.0, device_name="cpu")
VERDICT = {"vfx_filter": {"result": {"VFX_video": 0.9, "normal_video": 0.1}, "label": "VFX_video", "prob": 0.9}}


def record_of(ordinal: int, **columns: Scalar) -> Record:
    """Return a valid input record."""
    return {
        "video_id": f"v{ordinal}",
        "oss_bucket": "videos",
        "video_path": f"2025/{ordinal}.mp4",
        "video_tag": "demo",
        "info": '{"use_alluxio":true}',
        **columns,
    }


def succeeded(
    ordinal: int, run_id: str = "run", verdict: Mapping[str, object] = VERDICT, **columns: Scalar
) -> ResultRow:
    """Return a row with a verdict."""
    record = record_of(ordinal, **columns)
    return ResultRow.succeeded(record, run_id=run_id, ordinal=ordinal, verdict_info=verdict, execution=EXECUTION)


def failed(ordinal: int, run_id: str = "run", code: str = "corrupt_video", **columns: Scalar) -> ResultRow:
    """Return a row without a verdict."""
    failure = Failure(code=code, stage="decode", message="no video stream", attempts=2)
    record = record_of(ordinal, **columns)
    return ResultRow.failed(record, run_id=run_id, ordinal=ordinal, failure=failure, execution=EXECUTION)


def create_table(
    path: Path, table: str, rows: Iterable[Mapping[str, Scalar]], columns: Sequence[str] = INPUT_COLUMNS
) -> None:
    """Add a table to a database; a column's name may be followed by a type or a constraint."""
    marks = ", ".join("?" * len(columns))
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute(f"CREATE TABLE {table} ({', '.join(columns)})")
        values = ([row.get(column) for column in columns] for row in rows)
        connection.executemany(f"INSERT INTO {table} VALUES ({marks})", values)


def query(path: Path, sql: str, *parameters: object) -> list[tuple[object, ...]]:
    """Query a database directly, without the code under test."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        return connection.execute(sql, parameters).fetchall()
