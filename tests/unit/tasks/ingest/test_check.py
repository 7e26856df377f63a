"""The check of one source, with real tables, a real ledger and a broker without workers."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import redis

from inference.manifest import load_manifest
from storage.errors import Unavailable, UsageError
from storage.ledger import Ledger, Run
from storage.records import Execution, ResultRow
from storage.tables.open import open_input, open_output
from tasks.celery import app
from tasks.ingest.check import IngestContext, check_source, plan_source
from tasks.ingest.journal import IngestJournal
from tasks.ingest.lease import leased
from tasks.ingest.model import BackfillRange, PartitionDecision, PartitionEntry, PartitionState
from tasks.ingest.sources import IngestSource
from tasks.ingest.tick import tick
from tasks.settings import Settings
from tests.valkey import ValkeyServer

NOW = datetime(2025, 1, 15, 18, 0, tzinfo=UTC)
LONG_AGO = (NOW - timedelta(days=1)).timestamp()


@pytest.fixture
def context(client: redis.Redis, tmp_path: Path, server: ValkeyServer) -> Iterator[IngestContext]:
    (tmp_path / "in").mkdir()
    settings = Settings.of(
        state_dir=tmp_path, node="n1", shard_rows=2, sources=tmp_path / "sources.toml", manifest="tiny"
    )
    with using_broker(server.url):
        yield IngestContext(settings, Ledger(client), IngestJournal(client))


@contextmanager
def using_broker(url: str) -> Iterator[None]:
    """Make the app of this process publish to this broker, over new connections."""
    was, pools = app.conf.broker_url, (app._pool, app.amqp._producer_pool)
    app.conf.broker_url, app._pool, app.amqp._producer_pool = url, None, None
    yield
    app.conf.broker_url, (app._pool, app.amqp._producer_pool) = was, pools


def put(root: Path, day: str, rows: int = 3, **columns: str) -> None:
    path = root / "in" / f"ds={day}.jsonl"
    row = {"video_id": "v", "oss_bucket": "bucket", "video_path": "a", "video_tag": "", "info": ""} | columns
    path.write_text("".join(json.dumps(row) + "\n" for _ in range(rows)))
    os.utime(path, (LONG_AGO, LONG_AGO))


def source(root: Path, **changes: object) -> IngestSource:
    fields: dict[str, object] = {
        "name": "clips",
        "tables": f"{root}/in/ds={{date}}.jsonl",
        "outputs": f"sqlite:///{root}/out.db#results/ds={{date}}",
        "start": "2025-01-01",
    }
    return IngestSource.model_validate(fields | changes, context=load_manifest("tiny").switches)


def finish(run: Run, ledger: Ledger) -> None:
    """Complete the run in the place of the fleet."""
    with closing(open_input(run.spec.tables)) as table, closing(open_output(run.spec.outputs)) as sink:
        while shard := ledger.claim_shard(run.run_id, max_open=100):
            rows = []
            for ordinal in shard.ordinals:
                (record,) = table.read_rows(ordinal, 1)
                execution = Execution(start_time=NOW, end_time=NOW, avg_cost_seconds=0.0)
                rows.append(
                    ResultRow.succeeded(
                        record, run_id=run.run_id, ordinal=ordinal, verdict_info={}, execution=execution
                    )
                )
                ledger.record(run.run_id, shard.shard_id, ordinal, rows[-1].to_bytes(), "ok")
            sink.write_batch(f"{run.run_id}:{shard.shard_id}", rows)
            ledger.close_shard(run.run_id, shard.shard_id)


def started(decisions: list[PartitionDecision]) -> list[str]:
    return [decision.key for decision in decisions if decision.is_start]


def runs(context: IngestContext) -> list[Run]:
    return context.ledger.runs()


def test_a_partition_is_started_once_and_done_when_its_run_is(context: IngestContext, tmp_path: Path) -> None:
    put(tmp_path, "20250110")
    asked = source(tmp_path)
    assert started(check_source(asked, context, NOW)) == ["2025-01-10"]
    (run,) = runs(context)
    assert run.total_rows == 3
    assert started(check_source(asked, context, NOW)) == []
    finish(run, context.ledger)
    check_source(asked, context, NOW)
    status, entries = context.journal.read("clips")
    assert entries["2025-01-10"].state is PartitionState.DONE
    assert entries["2025-01-10"].run_id == run.run_id == status.started_run
    assert len(runs(context)) == 1


def test_the_run_has_the_id_that_sift_gives_it(context: IngestContext, tmp_path: Path) -> None:
    from inference.manifest import load_manifest
    from tasks.submit import prepare

    put(tmp_path, "20250110")
    asked = source(tmp_path, filters={"vfx_enable": False})
    (decision,) = check_source(asked, context, NOW)
    tables, outputs = f"{tmp_path}/in/ds=20250110.jsonl", f"sqlite:///{tmp_path}/out.db#results/ds=20250110"
    switches = frozenset({"com_enable", "rov_enable", "low_quality_enable", "abnormal_region_enable"})
    spec = prepare(tables, outputs, switches, load_manifest("tiny")).spec
    assert decision.entry.run_id == spec.run_id == runs(context)[0].run_id


def test_a_wiped_redis_does_not_sift_again_what_the_output_holds(
    context: IngestContext, tmp_path: Path, client: redis.Redis
) -> None:
    put(tmp_path, "20250110")
    check_source(source(tmp_path), context, NOW)
    finish(runs(context)[0], context.ledger)
    client.flushall()
    (decision,) = check_source(source(tmp_path), context, NOW)
    assert (decision.is_start, decision.entry.state) == (False, PartitionState.DONE)
    assert runs(context) == []


def test_a_redis_wiped_in_the_middle_of_a_run_resumes_that_run(
    context: IngestContext, tmp_path: Path, client: redis.Redis
) -> None:
    put(tmp_path, "20250110")
    check_source(source(tmp_path), context, NOW)
    (run,) = runs(context)
    client.flushall()
    assert started(check_source(source(tmp_path), context, NOW)) == ["2025-01-10"]
    assert [one.run_id for one in runs(context)] == [run.run_id]


def test_plan_source_creates_starts_and_records_nothing(context: IngestContext, tmp_path: Path) -> None:
    put(tmp_path, "20250110")
    decisions, *_ = plan_source(source(tmp_path), context, NOW)
    assert started(decisions) == ["2025-01-10"]
    assert runs(context) == []
    assert context.journal.read("clips")[1] == {}
    assert not (tmp_path / "out.db").exists()


def test_a_partition_with_wrong_columns_fails_alone_and_starts_once_it_is_corrected(
    context: IngestContext, tmp_path: Path
) -> None:
    (tmp_path / "in" / "ds=20250110.jsonl").write_text('{"video_id": "v"}\n')
    put(tmp_path, "20250111")
    decisions = check_source(source(tmp_path), context, NOW)
    assert started(decisions) == ["2025-01-11"]
    assert "oss_bucket" in decisions[0].entry.reason
    put(tmp_path, "20250110")
    assert started(check_source(source(tmp_path, max_runs=2), context, NOW + timedelta(seconds=60))) == ["2025-01-10"]


def test_an_output_that_cannot_be_made_fails_with_growing_waits(context: IngestContext, tmp_path: Path) -> None:
    put(tmp_path, "20250110")
    asked = source(tmp_path, outputs=f"sqlite:///{tmp_path}/nowhere/out.db#r/ds={{date}}")
    now = NOW
    for attempts in (1, 2, 3):
        (decision,) = check_source(asked, context, now)
        assert (decision.entry.state, decision.entry.attempts) == (PartitionState.FAILED, attempts)
        assert "nowhere" in decision.entry.reason
        now = datetime.fromtimestamp(decision.entry.not_before, tz=UTC)


def test_a_partition_that_vanishes_before_its_run_is_forgotten(context: IngestContext, tmp_path: Path) -> None:
    put(tmp_path, "20250110", rows=0)
    check_source(source(tmp_path), context, NOW)
    assert "2025-01-10" in context.journal.read("clips")[1]
    (tmp_path / "in" / "ds=20250110.jsonl").unlink()
    check_source(source(tmp_path), context, NOW)
    assert context.journal.read("clips")[1] == {}


def test_a_backfill_ends_when_its_days_are_done(context: IngestContext, tmp_path: Path) -> None:
    put(tmp_path, "20241231")
    asked = source(tmp_path)
    assert check_source(asked, context, NOW) == []
    context.journal.set_backfills("clips", [BackfillRange("2024-12-01", "2024-12-31", "oldest")])
    assert started(check_source(asked, context, NOW)) == ["2024-12-31"]
    assert context.journal.read("clips")[0].backfills
    finish(runs(context)[0], context.ledger)
    check_source(asked, context, NOW)
    assert context.journal.read("clips")[0].backfills == ()


# -- the tick --

SOURCES = """
[[source]]
name = "broken"
tables = "{root}/nowhere/ds={{date}}.jsonl"
outputs = "sqlite:///{root}/out.db#broken/ds={{date}}"
start = 2025-01-01

[[source]]
name = "clips"
tables = "{root}/in/ds={{date}}.jsonl"
outputs = "sqlite:///{root}/out.db#results/ds={{date}}"
start = 2025-01-01
"""


@pytest.fixture
def declared(tmp_path: Path) -> None:
    (tmp_path / "sources.toml").write_text(SOURCES.format(root=tmp_path))


@pytest.mark.usefixtures("declared")
def test_a_source_that_cannot_be_read_stops_no_other_and_backs_off(context: IngestContext, tmp_path: Path) -> None:
    put(tmp_path, "20250110")
    tick(context, NOW)
    assert len(runs(context)) == 1
    status, _ = context.journal.read("broken")
    assert "nowhere" in status.error
    assert (status.errors, status.next_due) == (1, NOW + timedelta(seconds=15))
    tick(context, NOW + timedelta(seconds=14))
    assert context.journal.read("broken")[0].errors == 1
    tick(context, NOW + timedelta(seconds=15))
    assert context.journal.read("broken")[0].next_due == NOW + timedelta(seconds=45)
    (tmp_path / "nowhere").mkdir()
    tick(context, NOW + timedelta(seconds=45))
    status, _ = context.journal.read("broken")
    assert (status.error, status.errors) == ("", 0)


@pytest.mark.usefixtures("declared")
def test_the_end_of_a_run_makes_room_before_the_schedule_asks(context: IngestContext, tmp_path: Path) -> None:
    put(tmp_path, "20250110")
    put(tmp_path, "20250111")
    tick(context, NOW)
    tick(context, NOW + timedelta(seconds=10))
    (run,) = runs(context)
    finish(run, context.ledger)
    tick(context, NOW + timedelta(seconds=20))
    assert len(runs(context)) == 2


@pytest.mark.usefixtures("declared")
def test_a_paused_source_starts_nothing_but_its_run_is_followed_to_its_end(
    context: IngestContext, tmp_path: Path
) -> None:
    put(tmp_path, "20250110")
    put(tmp_path, "20250111")
    tick(context, NOW)
    context.journal.note("clips", paused_at=NOW)
    finish(runs(context)[0], context.ledger)
    tick(context, NOW + timedelta(days=1))
    _, entries = context.journal.read("clips")
    assert [entry.state for _, entry in sorted(entries.items())] == [PartitionState.DONE, PartitionState.WAITING]
    assert "paused" in entries["2025-01-11"].reason
    context.journal.note("clips", paused_at=None, next_due=None)
    tick(context, NOW + timedelta(days=1))
    assert len(runs(context)) == 2


@pytest.mark.usefixtures("declared")
def test_an_overlapping_tick_skips_the_source_and_says_so(context: IngestContext, tmp_path: Path) -> None:
    put(tmp_path, "20250110")
    with leased(context.journal, "clips", "other", NOW) as holder:
        assert holder == ""
        tick(context, NOW)
        assert runs(context) == []
    status, _ = context.journal.read("clips")
    assert (status.skipped, status.skipped_at) == (1, NOW)
    assert "other, pid" in status.skip_reason
    tick(context, NOW)
    assert len(runs(context)) == 1


@pytest.mark.usefixtures("declared")
def test_ticks_side_by_side_start_each_partition_once(context: IngestContext, tmp_path: Path) -> None:
    for day in range(10, 16):
        put(tmp_path, f"202501{day}")
    threads = [threading.Thread(target=tick, args=(context, NOW)) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(runs(context)) == 1  # max_runs


def test_a_wrong_file_is_logged_and_no_source_is_checked(
    context: IngestContext, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "sources.toml").write_text("[[source]]\nname = 'x'\n")
    tick(context, NOW)
    assert "tables is missing" in caplog.text


def test_reading_the_journal_without_redis_raises_unavailable(tmp_path: Path) -> None:
    with pytest.raises(Unavailable):
        IngestJournal(redis.Redis(port=1, socket_connect_timeout=1)).read("clips")


def test_an_entry_is_read_from_the_journal_as_it_was_written(context: IngestContext) -> None:
    entry = PartitionEntry(
        state=PartitionState.FAILED, reason="why «not»", run_id="r", rows=3, since=1.5, attempts=2, not_before=9.0
    )
    context.journal.put("clips", {"2025-01-10": entry, "2025-01-11": replace(entry, rows=None)})
    context.journal.drop("clips", ["2025-01-11"])
    assert context.journal.read("clips")[1] == {"2025-01-10": entry}


def test_a_shrunken_input_is_refused_and_not_sifted_again(context: IngestContext, tmp_path: Path) -> None:
    put(tmp_path, "20250110", rows=4)
    check_source(source(tmp_path), context, NOW)
    (run,) = runs(context)
    put(tmp_path, "20250110", rows=2)
    with pytest.raises(UsageError, match="may only grow"):
        context.ledger.submit(run.spec, total_rows=2, shard_rows=2, extra_columns=())
    assert started(check_source(source(tmp_path), context, NOW)) == []
