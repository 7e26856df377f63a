"""The story of one video, with a real ledger, real tables and a real spool; judging is left to other tests."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path

import pytest
import redis
from hypothesis import given
from hypothesis import strategies as st

from storage.errors import ForbiddenPath, ObjectMissing, Unavailable
from storage.ledger import Deferred, Ledger, Run, RunSpec
from storage.objects.local import DirectoryStore
from storage.records import Failure
from storage.spool import Spool
from storage.tables.open import open_input, open_output
from storage.tiers import Tier, Tiers
from tasks import pipeline
from tasks.messages import RowMessage
from tasks.runtime import Runtime, UnknownRun
from tasks.settings import Settings
from tests.valkey import ValkeyServer, valkey_server

ROWS = 10
SHARD_ROWS = 4


@pytest.fixture(scope="module")
def server() -> Iterator[ValkeyServer]:
    with valkey_server() as running:
        yield running


@pytest.fixture
def client(server: ValkeyServer) -> redis.Redis:
    client = redis.Redis.from_url(server.url)
    client.flushall()
    return client


@pytest.fixture
def rt(tmp_path: Path, client: redis.Redis) -> Iterator[Runtime]:
    settings = Settings(state_dir=tmp_path, shard_rows=SHARD_ROWS, open_shards=2, node="n1")
    tiers = Tiers([Tier("oss", DirectoryStore(tmp_path / "oss"))], max_object_bytes=1000)
    (tmp_path / "oss" / "bucket").mkdir(parents=True)
    (tmp_path / "oss" / "bucket" / "a.mp4").write_bytes(b"video")
    runtime = Runtime(
        settings=settings,
        ledger=Ledger(client),
        deferred=Deferred(client),
        spool=Spool(tmp_path / "spool", limit_bytes=10_000),
        tiers=tiers,
    )
    yield runtime
    runtime.close()


@pytest.fixture
def run(tmp_path: Path, rt: Runtime) -> Run:
    with closing(sqlite3.connect(tmp_path / "in.db")) as db, db:
        db.execute(
            "CREATE TABLE v (video_id TEXT, oss_bucket TEXT, video_path TEXT, video_tag TEXT, info TEXT, extra TEXT)"
        )
        db.executemany(
            "INSERT INTO v VALUES (?, 'bucket', 'a.mp4', 't', '', ?)", [(f"video{n}", f"x{n}") for n in range(ROWS)]
        )
    with (
        closing(open_input(f"sqlite:///{tmp_path}/in.db#v")) as table,
        closing(open_output(f"sqlite:///{tmp_path}/out.db#r")) as out,
    ):
        spec = RunSpec(tables=table.url, outputs=out.url, filters=("vfx_enable",), manifest="m", manifest_digest="d")
    return rt.ledger.submit(spec, total_rows=ROWS, shard_rows=SHARD_ROWS, extra_columns=("extra",))[0]


class Published(list[RowMessage]):
    """What feed sent on its way."""

    def __call__(self, rows: Sequence[RowMessage]) -> None:
        self.extend(rows)


def finish(rows: Sequence[RowMessage], rt: Runtime) -> set[str]:
    """Record a failure for every row; return the shards that became full."""
    failure = Failure(code="not_a_video", stage="infer", message="m", attempts=1)
    return {row.shard_id for row in rows if pipeline.record(row, pipeline.failed(row, failure, rt), rt)}


def complete(run: Run, rt: Runtime) -> None:
    """Carry the whole run from feed to write."""
    while not rt.ledger.run(run.run_id).is_complete:  # type: ignore[union-attr]
        published = Published()
        pipeline.feed(run.run_id, rt, published)
        for shard_id in finish(published, rt):
            assert pipeline.write_shard(run.run_id, shard_id, rt)


def test_feed_opens_shards_until_the_window_is_full(run: Run, rt: Runtime) -> None:
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


def test_a_run_whose_ledger_was_wiped_computes_only_what_the_output_lacks(
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


def test_lost_rows_of_an_open_shard_are_fed_again_and_the_recorded_ones_are_not(run: Run, rt: Runtime) -> None:
    published = Published()
    pipeline.feed(run.run_id, rt, published)
    shard_id = published[0].shard_id
    finish(published[:1], rt)
    again = Published()
    assert pipeline.feed_again(run.run_id, shard_id, rt, again) == SHARD_ROWS - 1
    assert [row.ordinal for row in again] == [1, 2, 3]
    assert again[0] == published[1]


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
    [({"video_path": "../../etc/passwd"}, ForbiddenPath), ({"video_path": "nobody.mp4"}, ObjectMissing)],
)
def test_a_row_that_may_not_or_cannot_be_read_leaves_nothing_in_the_spool(
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


def test_an_unknown_run_is_retried_and_says_what_to_do(rt: Runtime) -> None:
    with pytest.raises(UnknownRun, match="submit it again"):
        rt.run("feedfacefeedface")


@given(st.sets(st.integers(0, 60)))
def test_neighbours_cover_exactly_the_ordinals_in_as_few_ranges_as_there_are_gaps(ordinals: set[int]) -> None:
    ranges = list(pipeline.neighbours(sorted(ordinals)))
    covered = [number for start, count in ranges for number in range(start, start + count)]
    assert covered == sorted(ordinals)
    gaps = sum(1 for number in ordinals if number - 1 not in ordinals)
    assert len(ranges) == gaps
