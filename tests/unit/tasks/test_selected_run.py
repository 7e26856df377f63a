"""A run of a selection: it feeds the selected rows, counts them, and goes on after a wipe with the same ones."""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace

import pytest
import redis

from storage.ledger import Run
from storage.tables.open import open_output
from storage.tables.selection.selection import RowSelection
from tasks import pipeline
from tasks.resources.runtime import Runtime
from tests.unit.tasks.small_run import SHARD_ROWS, Published, finish

WHERE = "video_id IN ('video1', 'video3', 'video4', 'video7', 'video8', 'video9') AND extra LIKE 'x%'"


@pytest.mark.parametrize(
    ("selection", "expected"),
    [
        (RowSelection(where=WHERE), ["video1", "video3", "video4", "video7", "video8", "video9"]),
        (RowSelection(where=WHERE, limit=5), ["video1", "video3", "video4", "video7", "video8"]),
        (RowSelection(limit=3), ["video0", "video1", "video2"]),
    ],
)
def test_a_run_of_a_selection_writes_the_selected_rows_and_no_other_also_after_a_wipe(
    selection: RowSelection, expected: list[str], run: Run, rt: Runtime, client: redis.Redis
) -> None:
    spec = replace(run.spec, selection=selection.to_json())

    def submit() -> Run:
        return rt.ledger.submit(spec, total_rows=len(expected), shard_rows=SHARD_ROWS, extra_columns=run.extra_columns)[
            0
        ]

    chosen = submit()
    first = Published()
    pipeline.feed(chosen.run_id, rt, first)
    for shard_id in finish(first[:SHARD_ROWS], rt):
        pipeline.write_shard(chosen.run_id, shard_id, rt)
    client.flushall()
    chosen = submit()
    while (fed := Published()) is not None and pipeline.feed(chosen.run_id, rt, fed):
        for shard_id in finish(fed, rt):
            pipeline.write_shard(chosen.run_id, shard_id, rt)
    with closing(open_output(spec.outputs)) as table:
        assert [row.video_id for row in table.results(chosen.run_id)] == expected
    counts = rt.ledger.counts(chosen.run_id)
    assert counts is not None
    assert (counts.rows, counts.in_flight) == (len(expected), 0)
