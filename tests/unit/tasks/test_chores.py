"""Tasks called in this process, as on a worker's thread: their effects when a resource fails."""

from __future__ import annotations

import json
import logging
import shutil
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import redis

from storage.errors import Unavailable, UsageError
from storage.ledger import Periods, Run
from storage.tables.version import version_of
from tasks import celery, chores, pipeline
from tasks.download import download
from tasks.feed import feed
from tasks.infer import infer
from tasks.messages import Downloaded, dump_downloaded, dump_row
from tasks.queues import PERIOD_HEADER, Queue, TaskName, gpu_queue, route
from tasks.resources import runtime
from tasks.resources.runtime import Runtime, reclaim_or_log
from tasks.write import write_shard
from tests.fleet.processes import wait_until
from tests.unit.tasks.small_run import ROWS, SHARD_ROWS, Published, finish


@pytest.fixture
def current(rt: Runtime) -> Iterator[Runtime]:
    runtime.set_current(rt)
    yield rt
    runtime.set_current(None)


@pytest.fixture
def fed(run: Run, rt: Runtime) -> Published:
    published = Published()
    pipeline.feed(run.run_id, rt, published)
    return published


def deferred(client: redis.Redis) -> list[Any]:
    """Return the deferred messages: ``[task, args]``."""
    keys = ("tamis:deferred", "tamis:deferred:writes")
    return [json.loads(message) for key in keys for message in client.zrange(key, 0, -1)]


def rename(database: Path, table: str, to: str) -> None:
    with closing(sqlite3.connect(database)) as db, db:
        db.execute(f"ALTER TABLE {table} RENAME TO {to}")


def test_a_deferred_infer_goes_to_any_node(current: Runtime, fed: Published, client: redis.Redis) -> None:
    """Its node may be gone by then, and a node without the right manifest would refuse it again."""
    downloaded = Downloaded(row=fed[0], node="n1", spool_key="0" * 32, tier="oss", milliseconds=1.0)
    infer(dump_downloaded(downloaded))  # this process has no models
    ((name, args),) = deferred(client)
    assert name == TaskName.INFER
    assert args[0] == dump_downloaded(downloaded) | {"node": ""}
    assert route(name, args) == {"queue": Queue.GPU.value}


def test_a_deferred_download_is_unchanged(current: Runtime, fed: Published, client: redis.Redis) -> None:
    current.tiers = None  # so the download fails and is retried
    download(dump_row(fed[0]))
    ((name, args),) = deferred(client)
    assert (name, args) == (TaskName.DOWNLOAD, [dump_row(fed[0])])


def test_a_file_in_this_nodes_spool_is_used_whatever_node_the_message_names(rt: Runtime, fed: Published) -> None:
    downloaded = pipeline.download(fed[0], rt)
    rt.tiers = None  # nothing can be downloaded
    for node in ("n1", "another", ""):
        elsewhere = Downloaded(row=fed[0], node=node, spool_key=downloaded.spool_key, tier="oss", milliseconds=1.0)
        with pipeline.spooled(elsewhere, rt) as (path, tier, _milliseconds):
            assert (path.read_bytes(), tier) == (b"video", "oss")


def test_a_missing_input_table_is_logged_and_recorded_as_the_runs_trouble(
    current: Runtime, run: Run, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    rename(tmp_path / "in.db", "v", "elsewhere")
    with caplog.at_level(logging.WARNING):
        feed(run.run_id)
    assert "was not fed" in caplog.text
    assert current.ledger.trouble(run.run_id) is not None
    assert current.ledger.open_shards(run.run_id) == []


def test_a_rewritten_input_stops_the_feed_with_a_reason_until_it_is_restored(
    current: Runtime, run: Run, tmp_path: Path
) -> None:
    with closing(current.open_input(run.spec.tables)) as table:
        version = version_of(table).to_json()
    current.ledger.forget(run.run_id)
    current.ledger.submit(
        run.spec, total_rows=ROWS, shard_rows=SHARD_ROWS, extra_columns=run.extra_columns, input_version=version
    )
    rename(tmp_path / "in.db", "v", "kept")
    with closing(sqlite3.connect(tmp_path / "in.db")) as db, db:
        db.execute("CREATE TABLE v AS SELECT * FROM kept ORDER BY video_id DESC")
    published = Published()
    with pytest.raises(UsageError, match="changed after the run was submitted"):
        pipeline.feed(run.run_id, current, published)
    trouble = current.ledger.trouble(run.run_id)
    assert trouble is not None
    assert "copy the new ones to another partition" in trouble.text
    rename(tmp_path / "in.db", "v", "changed")
    rename(tmp_path / "in.db", "kept", "v")
    assert pipeline.feed(run.run_id, current, published) > 0
    assert current.ledger.trouble(run.run_id) is None


@pytest.mark.parametrize("refusal", ["dropped", "moved away"])
def test_the_write_of_a_shard_is_deferred_while_its_table_cannot_take_it(
    refusal: str, current: Runtime, run: Run, fed: Published, client: redis.Redis, tmp_path: Path
) -> None:
    (shard_id,) = finish(fed[:SHARD_ROWS], current)
    current.output_table(run)  # prepared, as after the first shard
    if refusal == "dropped":
        rename(tmp_path / "out.db", "r", "elsewhere")
    else:
        (tmp_path / "out.db").rename(tmp_path / "away.db")
    for _ in range(3):
        write_shard(run.run_id, shard_id)
    assert deferred(client) == [[TaskName.WRITE_SHARD, [run.run_id, shard_id]]]  # one, however often it was refused
    trouble = current.ledger.trouble(run.run_id)
    assert trouble is not None
    assert "out.db" in trouble.text


def test_a_worker_with_tiers_cleans_its_nodes_spool_and_reports_its_queues(
    rt: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A thread and not a task: each node has to clean its own spool."""
    monkeypatch.setattr(runtime, "opener", lambda _settings, _queues: rt)
    monkeypatch.setattr(celery, "RECLAIM_SECONDS", 0.02)
    stray = rt.spool.root / f"{'0' * 64}-1"
    try:
        celery.open_for_queues(frozenset({"io"}))
        (node,) = rt.ledger.heartbeats.nodes(60)
        assert (node.name, node.roles) == ("n1", {"io"})
        stray.write_bytes(b"left by a crash")
        wait_until(lambda: not stray.exists(), "the stray file is removed")
    finally:
        celery.close()
    wait_until(lambda: not {"tamis-presence", "tamis-reclaim"} & {t.name for t in threading.enumerate()}, "tickers end")


def test_a_worker_without_tiers_cleans_no_spool(rt: Runtime, monkeypatch: pytest.MonkeyPatch) -> None:
    rt.tiers = None
    monkeypatch.setattr(runtime, "opener", lambda _settings, _queues: rt)
    celery.open_for_queues(frozenset({"results", "control", gpu_queue("n1")}))
    try:
        assert "tamis-reclaim" not in {thread.name for thread in threading.enumerate()}
        (node,) = rt.ledger.heartbeats.nodes(60)
        assert node.roles == {"results", "control", gpu_queue("n1")}
    finally:
        celery.close()


def test_a_missing_spool_is_logged(rt: Runtime, caplog: pytest.LogCaptureFixture) -> None:
    shutil.rmtree(rt.spool.root)
    with pytest.raises(Unavailable):
        rt.spool.reclaim()
    reclaim_or_log(rt)
    assert "was not reclaimed" in caplog.text


def test_leases_of_a_row_that_was_judged_elsewhere_end_with_the_next_reclaim(rt: Runtime, fed: Published) -> None:
    pipeline.download(fed[0], rt)
    reclaim_or_log(rt)
    assert rt.spool.usage().leases == 1
    finish(fed[:1], rt)
    reclaim_or_log(rt)
    assert rt.spool.usage().leases == 0


def swept(rt: Runtime, monkeypatch: pytest.MonkeyPatch, *messages: dict[str, float]) -> int:
    """Return how many sweeps run when these messages come, given by their headers."""
    sweeps: list[Runtime] = []
    monkeypatch.setattr(chores.sweeping, "sweep", lambda rt, *_: sweeps.append(rt))
    for headers in messages:
        chores.sweep.push_request(**headers)  # a worker makes the headers attributes of the request
        chores.sweep.run()
        chores.sweep.pop_request()
    return len(sweeps)


def test_a_periodic_task_that_two_beats_send_runs_once_per_period(
    current: Runtime, client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    current.periods = Periods(client)
    message = {PERIOD_HEADER: 3600.0}
    assert swept(current, monkeypatch, message, message) == 1
    client.delete(f"tamis:period:{TaskName.SWEEP.value}")  # as at the end of the period
    assert swept(current, monkeypatch, message) == 1


def test_a_task_without_a_period_always_runs(
    current: Runtime, client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    current.periods = Periods(client)
    assert swept(current, monkeypatch, {}, {}) == 2


def test_a_claim_expires_by_itself_and_names_are_independent(client: redis.Redis) -> None:
    periods = Periods(client)
    assert periods.claim("a", 3600.0)
    assert not periods.claim("a", 3600.0)
    assert periods.claim("b", 3600.0)
    assert 0 < client.pttl("tamis:period:a") <= 3_600_000
