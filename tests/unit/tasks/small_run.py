"""A run of ten rows in shards of four, and functions that publish and finish its rows."""

from __future__ import annotations

from collections.abc import Sequence

from storage.records import Failure
from tasks import pipeline
from tasks.messages import RowMessage
from tasks.resources.runtime import Runtime

ROWS = 10
SHARD_ROWS = 4


class Published(list[RowMessage]):
    """Rows that feed published."""

    def __call__(self, rows: Sequence[RowMessage]) -> None:
        self.extend(rows)


def finish(rows: Sequence[RowMessage], rt: Runtime) -> set[str]:
    """Record a failure for every row; return the shards that became full."""
    failure = Failure(code="not_a_video", stage="infer", message="m", attempts=1)
    return {row.shard_id for row in rows if pipeline.record(row, pipeline.failed(row, failure, rt), rt)}
