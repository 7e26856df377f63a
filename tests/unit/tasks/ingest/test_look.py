"""One look at one source, with real tables, a real ledger and a broker that nobody serves."""

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
from tasks.ingest.journal import Journal
from tasks.ingest.lease import leased
from tasks.ingest.look import Means, look, survey
from tasks.ingest.model import Backfill, Decision, Entry, State
from tasks.ingest.sources import Source
from tasks.ingest.tick import tick
from tasks.settings import Settings
from tests.valkey import ValkeyServer

NOW = datetime(2025, 1, 15, 18, 0, tzinfo=UTC)
LONG_AGO = (NOW - timedelta(days=1)).timestamp()


@pytest.fixture
def means(client: redis.Redis, tmp_path: Path, server: ValkeyServer) -> Iterator[Means]:
    (tmp_path / "in").mkdir()
    settings = Settings.of(state_dir=tmp_path, node="n1", shard_rows=2, sources=tmp_path / "sources.toml")
    with using_broker(server.url):
        yield Means(settings, Ledger(client), Journal(client))


@contextmanager
def using_broker(url: str) -> Iterator[None]:
    """Let the app of this process publish there, over connections of its own."""
    was, pools = app.conf.broker_url, (app._pool, app.amqp._producer_pool)
    app.conf.broker_url, app._pool, app.amqp._producer_pool = url, None, None
    yield
    app.conf.broker_url, (app._pool, app.amqp._producer_pool) = was, pools


def put(root: Path, day: str, rows: int = 3, **columns: str) -> None:
    path = root / "in" / f"ds={day}.jsonl"
    row = {"video_id": "v", "oss_bucket": "bucket", "video_path": "a", "video_tag": "", "info": ""} | columns
    path.write_text("".join(json.dumps(row) + "\n" for _ in range(rows)))
    os.utime(path, (LONG_AGO, LONG_AGO))


def source(root: Path, **changes: object) -> Source:
    fields: dict[str, object] = {
        "name": "clips",
        "tables": f"{root}/in/ds={{date}}.jsonl",
        "outputs": f"sqlite:///{root}/out.db#results/ds={{date}}",
        "start": "2025-01-01",
    }
    return Source.model_validate(fields | changes, context=load_manifest("tiny").switches)


def finish(run: Run, ledger: Ledger) -> None:
    """Do the run as the fleet would."""
    with closing(open_input(run.spec.tables)) as table, closing(open_output(run.spec.outputs)) as sink:
        while shard := ledger.claim_shard(run.run_id, window=100):
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


def started(decisions: list[Decision]) -> list[str]:
    return [decision.key for decision in decisions if decision.is_start]


def runs(means: Means) -> list[Run]:
    return means.ledger.runs()


def test_a_partition_is_started_once_and_done_when_its_run_is(means: Means, tmp_path: Path) -> None:
    put(tmp_path, "20250110")
    asked = source(tmp_path)
    assert started(look(asked, means, NOW)) == ["2025-01-10"]
    (run,) = runs(means)
    assert run.total_rows == 3
    assert started(look(asked, means, NOW)) == []
    finish(run, means.ledger)
    look(asked, means, NOW)
    status, entries = means.journal.read("clips")
    assert entries["2025-01-10"].state is State.DONE
    assert entries["2025-01-10"].run_id == run.run_id == status.started_run
    assert len(runs(means)) == 1


def test_the_run_is_the_one_that_sift_would_make(means: Means, tmp_path: Path) -> None:
    from inference.manifest import load_manifest
    from tasks.submit import prepare

    put(tmp_path, "20250110")
    asked = source(tmp_path, filters={"vfx_enable": False})
    (decision,) = look(asked, means, NOW)
    tables, outputs = f"{tmp_path}/in/ds=20250110.jsonl", f"sqlite:///{tmp_path}/out.db#results/ds=20250110"
    switches = frozenset({"com_enable", "rov_enable", "low_quality_enable", "abnormal_region_enable"})
    spec = prepare(tables, outputs, switches, load_manifest("tiny")).spec
    assert decision.entry.run_id == spec.run_id == runs(means)[0].run_id


def test_a_wiped_redis_does_not_sift_again_what_the_output_holds(
    means: Means, tmp_path: Path, client: redis.Redis
) -> None:
    put(tmp_path, "20250110")
    look(source(tmp_path), means, NOW)
    finish(runs(means)[0], means.ledger)
    client.flushall()
    (decision,) = look(source(tmp_path), means, NOW)
    assert (decision.is_start, decision.entry.state) == (False, State.DONE)
    assert runs(means) == []


def test_a_redis_wiped_in_the_middle_of_a_run_resumes_that_run(
    means: Means, tmp_path: Path, client: redis.Redis
) -> None:
    put(tmp_path, "20250110")
    look(source(tmp_path), means, NOW)
    (run,) = runs(means)
    client.flushall()
    assert started(look(source(tmp_path), means, NOW)) == ["2025-01-10"]
    assert [one.run_id for one in runs(means)] == [run.run_id]


def test_a_dry_look_creates_starts_and_remembers_nothing(means: Means, tmp_path: Path) -> None:
    put(tmp_path, "20250110")
    decisions, *_ = survey(source(tmp_path), means, NOW)
    assert started(decisions) == ["2025-01-10"]
    assert runs(means) == []
    assert means.journal.read("clips")[1] == {}
    assert not (tmp_path / "out.db").exists()


def test_a_partition_with_wrong_columns_fails_alone_and_is_mended_later(means: Means, tmp_path: Path) -> None:
    (tmp_path / "in" / "ds=20250110.jsonl").write_text('{"video_id": "v"}\n')
    put(tmp_path, "20250111")
    decisions = look(source(tmp_path), means, NOW)
    assert started(decisions) == ["2025-01-11"]
    assert "oss_bucket" in decisions[0].entry.reason
    put(tmp_path, "20250110")
    assert started(look(source(tmp_path, max_runs=2), means, NOW + timedelta(seconds=60))) == ["2025-01-10"]


def test_an_output_that_cannot_be_made_fails_with_growing_waits(means: Means, tmp_path: Path) -> None:
    put(tmp_path, "20250110")
    asked = source(tmp_path, outputs=f"sqlite:///{tmp_path}/nowhere/out.db#r/ds={{date}}")
    now = NOW
    for attempts in (1, 2, 3):
        (decision,) = look(asked, means, now)
        assert (decision.entry.state, decision.entry.attempts) == (State.FAILED, attempts)
        assert "nowhere" in decision.entry.reason
        now = datetime.fromtimestamp(decision.entry.not_before, tz=UTC)


def test_a_partition_that_vanishes_before_its_run_is_forgotten(means: Means, tmp_path: Path) -> None:
    put(tmp_path, "20250110", rows=0)
    look(source(tmp_path), means, NOW)
    assert "2025-01-10" in means.journal.read("clips")[1]
    (tmp_path / "in" / "ds=20250110.jsonl").unlink()
    look(source(tmp_path), means, NOW)
    assert means.journal.read("clips")[1] == {}


def test_a_backfill_ends_when_its_days_are_done(means: Means, tmp_path: Path) -> None:
    put(tmp_path, "20241231")
    asked = source(tmp_path)
    assert look(asked, means, NOW) == []
    means.journal.set_backfills("clips", [Backfill("2024-12-01", "2024-12-31", "oldest")])
    assert started(look(asked, means, NOW)) == ["2024-12-31"]
    assert means.journal.read("clips")[0].backfills
    finish(runs(means)[0], means.ledger)
    look(asked, means, NOW)
    assert means.journal.read("clips")[0].backfills == ()


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
def test_a_source_that_cannot_be_read_stops_no_other_and_backs_off(means: Means, tmp_path: Path) -> None:
    put(tmp_path, "20250110")
    tick(means, NOW)
    assert len(runs(means)) == 1
    status, _ = means.journal.read("broken")
    assert "nowhere" in status.error
    assert (status.errors, status.next_due) == (1, NOW + timedelta(seconds=15))
    tick(means, NOW + timedelta(seconds=14))
    assert means.journal.read("broken")[0].errors == 1
    tick(means, NOW + timedelta(seconds=15))
    assert means.journal.read("broken")[0].next_due == NOW + timedelta(seconds=45)
    (tmp_path / "nowhere").mkdir()
    tick(means, NOW + timedelta(seconds=45))
    status, _ = means.journal.read("broken")
    assert (status.error, status.errors) == ("", 0)


@pytest.mark.usefixtures("declared")
def test_the_end_of_a_run_makes_room_before_the_schedule_asks(means: Means, tmp_path: Path) -> None:
    put(tmp_path, "20250110")
    put(tmp_path, "20250111")
    tick(means, NOW)
    tick(means, NOW + timedelta(seconds=10))
    (run,) = runs(means)
    finish(run, means.ledger)
    tick(means, NOW + timedelta(seconds=20))
    assert len(runs(means)) == 2


@pytest.mark.usefixtures("declared")
def test_a_paused_source_starts_nothing_but_its_run_is_followed_to_its_end(means: Means, tmp_path: Path) -> None:
    put(tmp_path, "20250110")
    put(tmp_path, "20250111")
    tick(means, NOW)
    means.journal.note("clips", paused_at=NOW)
    finish(runs(means)[0], means.ledger)
    tick(means, NOW + timedelta(days=1))
    _, entries = means.journal.read("clips")
    assert [entry.state for _, entry in sorted(entries.items())] == [State.DONE, State.WAITING]
    assert "paused" in entries["2025-01-11"].reason
    means.journal.note("clips", paused_at=None, next_due=None)
    tick(means, NOW + timedelta(days=1))
    assert len(runs(means)) == 2


@pytest.mark.usefixtures("declared")
def test_an_overlapping_tick_skips_the_source_and_says_so(means: Means, tmp_path: Path) -> None:
    put(tmp_path, "20250110")
    with leased(means.journal, "clips", "other", NOW) as holder:
        assert holder == ""
        tick(means, NOW)
        assert runs(means) == []
    status, _ = means.journal.read("clips")
    assert (status.skipped, status.skipped_at) == (1, NOW)
    assert "other, pid" in status.skip_reason
    tick(means, NOW)
    assert len(runs(means)) == 1


@pytest.mark.usefixtures("declared")
def test_ticks_side_by_side_start_each_partition_once(means: Means, tmp_path: Path) -> None:
    for day in range(10, 16):
        put(tmp_path, f"202501{day}")
    threads = [threading.Thread(target=tick, args=(means, NOW)) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(runs(means)) == 1  # max_runs


def test_a_wrong_file_is_told_and_looks_at_nothing(
    means: Means, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "sources.toml").write_text("[[source]]\nname = 'x'\n")
    tick(means, NOW)
    assert "tables is missing" in caplog.text


def test_a_redis_that_is_away_is_told_as_such(tmp_path: Path) -> None:
    with pytest.raises(Unavailable):
        Journal(redis.Redis(port=1, socket_connect_timeout=1)).read("clips")


def test_an_entry_survives_the_journal(means: Means) -> None:
    entry = Entry(state=State.FAILED, reason="why «not»", run_id="r", rows=3, since=1.5, attempts=2, not_before=9.0)
    means.journal.put("clips", {"2025-01-10": entry, "2025-01-11": replace(entry, rows=None)})
    means.journal.drop("clips", ["2025-01-11"])
    assert means.journal.read("clips")[1] == {"2025-01-10": entry}


def test_a_shrunken_input_is_refused_and_not_sifted_again(means: Means, tmp_path: Path) -> None:
    put(tmp_path, "20250110", rows=4)
    look(source(tmp_path), means, NOW)
    (run,) = runs(means)
    put(tmp_path, "20250110", rows=2)
    with pytest.raises(UsageError, match="may only grow"):
        means.ledger.submit(run.spec, total_rows=2, shard_rows=2, extra_columns=())
    assert started(look(source(tmp_path), means, NOW)) == []
