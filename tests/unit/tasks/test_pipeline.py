"""The steps of one video, with a real ledger, real tables and a real spool, without models."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import pytest
import redis
from hypothesis import given
from hypothesis import strategies as st
from kombu.exceptions import OperationalError

from storage.errors import ForbiddenPath, ObjectMissing, Unavailable, UsageError
from storage.ledger import Run
from storage.records import Failure
from tasks import pipeline
from tasks.messages import RowMessage
from tasks.resources.runtime import Runtime, UnknownRun
from tests.unit.tasks.small_run import ROWS, SHARD_ROWS, Published, finish


def complete(run: Run, rt: Runtime) -> None:
    """Run every row of the run from feed to write."""
    while not rt.ledger.run(run.run_id).is_complete:  # type: ignore[union-attr]
        published = Published()
        pipeline.feed(run.run_id, rt, published)
        for shard_id in finish(published, rt):
            assert pipeline.write_shard(run.run_id, shard_id, rt)


def test_feed_opens_shards_up_to_the_limit(run: Run, rt: Runtime) -> None:
    published = Published()
    assert pipeline.feed(run.run_id, rt, published) == 2 * SHARD_ROWS
    assert [row.ordinal for row in published] == list(range(8))
    assert published[3].record["video_id"] == "video3"
    assert pipeline.feed(run.run_id, rt, published) == 0


def test_a_written_shard_makes_room_for_the_next_until_every_row_is_written_once(run: Run, rt: Runtime) -> None:
    complete(run, rt)
    results = list(rt.output_table(run).results(run.run_id))
    assert [result.ordinal for result in results] == list(range(ROWS))
    assert [result.extras["extra"] for result in results] == [f"x{n}" for n in range(ROWS)]
    assert {result.outcome for result in results} == {"not_a_video"}


def test_after_an_emptied_ledger_only_rows_missing_in_the_output_are_fed(
    run: Run, rt: Runtime, client: redis.Redis
) -> None:
    published = Published()
    pipeline.feed(run.run_id, rt, published)
    first_shard = [row for row in published if row.ordinal < SHARD_ROWS]
    (shard_id,) = finish(first_shard, rt)
    pipeline.write_shard(run.run_id, shard_id, rt)
    client.flushall()
    rt.ledger.submit(run.spec, total_rows=ROWS, shard_rows=SHARD_ROWS, extra_columns=("extra",))
    fed = Published()
    while pipeline.feed(run.run_id, rt, fed):
        for full in finish(fed, rt):
            pipeline.write_shard(run.run_id, full, rt)
    assert sorted(row.ordinal for row in fed) == list(range(SHARD_ROWS, ROWS))
    assert len(list(rt.output_table(run).results(run.run_id))) == ROWS
    counts = rt.ledger.counts(run.run_id)
    assert counts is not None
    assert (counts.ok, counts.failed, counts.in_flight) == (0, ROWS, 0)


def test_rows_of_an_open_shard_are_fed_again_except_recorded_ones(run: Run, rt: Runtime) -> None:
    published = Published()
    pipeline.feed(run.run_id, rt, published)
    shard_id = published[0].shard_id
    finish(published[:1], rt)
    again = Published()
    assert pipeline.feed_again(run.run_id, shard_id, range(ROWS), rt, again) == SHARD_ROWS - 1
    assert [row.ordinal for row in again] == [1, 2, 3]
    assert again[0] == published[1]


def test_only_the_given_rows_are_fed_again(run: Run, rt: Runtime) -> None:
    published, again = Published(), Published()
    pipeline.feed(run.run_id, rt, published)
    assert pipeline.feed_again(run.run_id, published[0].shard_id, {0, 2}, rt, again) == 2
    assert [row.ordinal for row in again] == [0, 2]


def test_feeding_again_first_records_rows_that_the_output_holds(run: Run, rt: Runtime, client: redis.Redis) -> None:
    """The ledger was emptied, and the next feeder died between its claim and its check of the output."""
    published = Published()
    pipeline.feed(run.run_id, rt, published)
    for shard_id in finish(published[:SHARD_ROWS], rt):
        pipeline.write_shard(run.run_id, shard_id, rt)
    client.flushall()
    rt.ledger.submit(run.spec, total_rows=ROWS, shard_rows=SHARD_ROWS, extra_columns=("extra",))
    shard = rt.ledger.claim_shard(run.run_id, max_open=1)
    assert shard is not None
    again = Published()
    assert pipeline.feed_again(run.run_id, shard.shard_id, shard.ordinals, rt, again) == 0
    assert not again
    assert rt.ledger.open_shards(run.run_id) == []
    counts = rt.ledger.counts(run.run_id)
    assert counts is not None
    assert counts.failed == SHARD_ROWS


def test_a_retry_is_fed_again_although_the_output_holds_its_rows(run: Run, rt: Runtime) -> None:
    complete(run, rt)
    rt.ledger.open_retry(run.run_id, "token", {1: "not_a_video", 2: "not_a_video"})
    published, again = Published(), Published()
    assert pipeline.feed(run.run_id, rt, published) == 2
    assert pipeline.feed_again(run.run_id, published[0].shard_id, (1, 2), rt, again) == 2


def test_writing_twice_or_too_early_has_no_effect(run: Run, rt: Runtime) -> None:
    published = Published()
    pipeline.feed(run.run_id, rt, published)
    shard_id = published[0].shard_id
    assert not pipeline.write_shard(run.run_id, shard_id, rt)
    finish(published[:SHARD_ROWS], rt)
    assert pipeline.write_shard(run.run_id, shard_id, rt)
    assert not pipeline.write_shard(run.run_id, shard_id, rt)
    assert len(list(rt.output_table(run).results(run.run_id))) == SHARD_ROWS


def test_an_input_that_shrank_is_an_error_that_names_the_rows(run: Run, rt: Runtime, tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "in.db")) as db, db:
        db.execute("DELETE FROM v WHERE rowid > 6")
    with pytest.raises(Unavailable, match="no rows 6…7"):
        pipeline.feed(run.run_id, rt, Published())


def test_a_shard_that_could_not_be_fed_takes_no_room_and_is_tried_first(run: Run, rt: Runtime, tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "in.db")) as db, db:
        db.execute("ALTER TABLE v RENAME TO gone")
    for _ in range(5):
        with pytest.raises(UsageError):
            pipeline.feed(run.run_id, rt, Published())
    assert rt.ledger.open_shards(run.run_id) == []
    with closing(sqlite3.connect(tmp_path / "in.db")) as db, db:
        db.execute("ALTER TABLE gone RENAME TO v")
    published = Published()
    assert pipeline.feed(run.run_id, rt, published) == 2 * SHARD_ROWS
    assert published[0].ordinal == 0


def test_a_broker_that_refuses_rows_leaves_no_shard_open(run: Run, rt: Runtime) -> None:
    def refuse(rows: Sequence[RowMessage]) -> None:
        raise OperationalError(f"{len(rows)} rows refused")

    with pytest.raises(OperationalError):
        pipeline.feed(run.run_id, rt, refuse)
    assert rt.ledger.open_shards(run.run_id) == []
    assert pipeline.feed(run.run_id, rt, Published()) == 2 * SHARD_ROWS


def test_an_unreadable_input_is_the_runs_trouble_until_it_can_be_read(run: Run, rt: Runtime, tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "in.db")) as db, db:
        db.execute("ALTER TABLE v RENAME TO gone")
    with pytest.raises(UsageError):
        pipeline.feed(run.run_id, rt, Published())
    trouble = rt.ledger.trouble(run.run_id)
    assert trouble is not None
    assert trouble.step == "feed"
    assert "in.db" in trouble.text
    with closing(sqlite3.connect(tmp_path / "in.db")) as db, db:
        db.execute("ALTER TABLE gone RENAME TO v")
    pipeline.feed(run.run_id, rt, Published())
    assert rt.ledger.trouble(run.run_id) is None


def test_an_unwritable_output_is_the_runs_trouble_until_it_can_be_written(
    run: Run, rt: Runtime, tmp_path: Path
) -> None:
    published = Published()
    pipeline.feed(run.run_id, rt, published)
    (shard_id,) = finish(published[:SHARD_ROWS], rt)
    with closing(sqlite3.connect(tmp_path / "out.db")) as db, db:
        db.execute("ALTER TABLE r RENAME TO gone")
    with pytest.raises(UsageError):
        pipeline.write_shard(run.run_id, shard_id, rt)
    trouble = rt.ledger.trouble(run.run_id)
    assert trouble is not None
    assert trouble.step == "write"
    pipeline.feed(run.run_id, rt, Published())  # feeding succeeds, which does not change the output's trouble
    assert rt.ledger.trouble(run.run_id) == trouble
    with closing(sqlite3.connect(tmp_path / "out.db")) as db, db:
        db.execute("ALTER TABLE gone RENAME TO r")
    assert pipeline.write_shard(run.run_id, shard_id, rt)
    assert rt.ledger.trouble(run.run_id) is None


def row(**changes: str) -> RowMessage:
    record = {"video_id": "v", "oss_bucket": "bucket", "video_path": "a.mp4", "video_tag": "", "info": ""}
    return RowMessage(run_id="r", shard_id="0", ordinal=3, record={**record, **changes})


def test_a_download_leaves_a_verified_file_under_a_lease(rt: Runtime) -> None:
    downloaded = pipeline.download(row(), rt)
    assert (downloaded.node, downloaded.tier) == ("n1", "oss")
    path = rt.spool.lease(downloaded.spool_key, "another")
    assert path is not None
    assert path.read_bytes() == b"video"
    assert rt.spool.usage().leases == 2


@pytest.mark.parametrize(
    ("changes", "error"),
    [({"video_path": "../../etc/passwd"}, ForbiddenPath), ({"video_path": "missing.mp4"}, ObjectMissing)],
)
def test_a_forbidden_or_missing_video_leaves_nothing_in_the_spool(
    changes: dict[str, str], error: type[Exception], rt: Runtime
) -> None:
    with pytest.raises(error):
        pipeline.download(row(**changes), rt)
    usage = rt.spool.usage()
    assert (usage.used_bytes, usage.reserved_bytes, usage.leases) == (0, 0, 0)


def test_a_malformed_row_still_gets_its_result_row(rt: Runtime) -> None:
    message = RowMessage(run_id="r", shard_id="0", ordinal=0, record={"video_id": None, "info": "{not json"})
    failure = Failure(code="bad_row", stage="download", message="why", attempts=1)
    result = pipeline.failed(message, failure, rt)
    assert result.outcome == "bad_row"
    assert result.result_info["error"] == {"code": "bad_row", "stage": "download", "message": "why"}


def test_an_unknown_run_is_an_error_with_its_remedy(rt: Runtime) -> None:
    with pytest.raises(UnknownRun, match="submit it again"):
        rt.run("feedfacefeedface")


@given(st.sets(st.integers(0, 60)))
def test_consecutive_ranges_cover_exactly_the_ordinals_in_the_fewest_ranges(ordinals: set[int]) -> None:
    ranges = list(pipeline.consecutive_ranges(sorted(ordinals)))
    covered = [number for start, count in ranges for number in range(start, start + count)]
    assert covered == sorted(ordinals)
    gaps = sum(1 for number in ordinals if number - 1 not in ordinals)
    assert len(ranges) == gaps
