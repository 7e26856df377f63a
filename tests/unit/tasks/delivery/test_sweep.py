"""The sweep: it sends lost work again soon, slow work late, and neither too often."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
import redis

from storage.ledger import OpenShard, Run, RunSpec
from storage.records import Failure
from tasks import pipeline
from tasks.delivery.sweep import BUSY_FACTOR, LONGEST_DOUBLINGS, Sender, Staleness, staleness, sweep
from tasks.resources.runtime import Runtime
from tests.unit.tasks.small_run import ROWS, SHARD_ROWS, Published, finish

STALE_SECONDS = 100.0  # by the ledger's clock: the tests set times back instead of waiting


@dataclass
class Resends:
    """Runs sweeps and keeps what they send again."""

    rt: Runtime
    client: redis.Redis
    published: Published = field(default_factory=Published)
    written: list[str] = field(default_factory=list)

    def idle(self, run: Run, shard_id: str, seconds: float) -> None:
        """Set the time of the shard's last progress to ``seconds`` ago."""
        key = f"tamis:run:{{{run.run_id}}}:open"
        now_seconds, microseconds = self.client.time()
        self.client.zadd(key, {shard_id: (now_seconds - seconds) * 1000 + microseconds // 1000}, xx=True)

    def sweep(self, *, is_quiet: bool) -> list[int]:
        """Sweep once; return the ordinals that were fed again."""
        before = len(self.published)
        send = Sender(self.published, lambda _run_id, shard_id: self.written.append(shard_id))
        sweep(self.rt, send, lambda: is_quiet)
        return [row.ordinal for row in self.published[before:]]


@pytest.fixture
def again(rt: Runtime, client: redis.Redis) -> Resends:
    rt.settings = rt.settings.changed(stale_shard_seconds=STALE_SECONDS)
    return Resends(rt, client)


@pytest.fixture
def fed(run: Run, rt: Runtime) -> Published:
    published = Published()
    pipeline.feed(run.run_id, rt, published)
    return published


def test_rows_without_a_message_in_an_idle_fleet_are_fed_again(run: Run, fed: Published, again: Resends) -> None:
    finish(fed[:1], again.rt)
    assert again.sweep(is_quiet=True) == []
    again.idle(run, fed[0].shard_id, STALE_SECONDS + 1)
    assert again.sweep(is_quiet=True) == [1, 2, 3]
    assert again.published[0] == fed[1]


def test_while_messages_wait_a_shard_has_more_time_but_not_without_limit(
    run: Run, fed: Published, again: Resends
) -> None:
    again.idle(run, fed[0].shard_id, STALE_SECONDS * BUSY_FACTOR - 60)
    assert again.sweep(is_quiet=False) == []
    again.idle(run, fed[0].shard_id, STALE_SECONDS * BUSY_FACTOR + 1)
    assert again.sweep(is_quiet=False) == [0, 1, 2, 3]


def test_a_row_under_way_is_not_fed_again_but_the_others_of_its_shard_are(
    run: Run, fed: Published, again: Resends
) -> None:
    shard_id = fed[0].shard_id
    again.rt.ledger.attempts.begin(run.run_id, shard_id, 2, "infer")
    again.idle(run, shard_id, STALE_SECONDS + 1)
    assert again.sweep(is_quiet=True) == [0, 1, 3]


def test_a_lost_row_that_a_dead_worker_began_is_fed_again_as_soon_as_one_never_begun(
    run: Run, fed: Published, again: Resends
) -> None:
    """Its message was delivered again, another worker downloaded it, and the next message was lost."""
    shard_id, ledger = fed[0].shard_id, again.rt.ledger
    ledger.heartbeats.beat_worker("living")
    ledger.attempts.begin(run.run_id, shard_id, 1, "download", "dead.1")
    ledger.attempts.begin(run.run_id, shard_id, 1, "download", "living.1")
    ledger.attempts.end(run.run_id, shard_id, 1, "download", "living.1")
    ledger.attempts.begin(run.run_id, shard_id, 2, "download", "living.2")
    again.idle(run, shard_id, STALE_SECONDS + 1)
    assert again.sweep(is_quiet=True) == [0, 1, 3]


def test_a_shard_whose_rows_are_all_under_way_keeps_its_limit(run: Run, fed: Published, again: Resends) -> None:
    shard_id = fed[0].shard_id
    for ordinal in range(SHARD_ROWS):
        again.rt.ledger.attempts.begin(run.run_id, shard_id, ordinal, "download")
    again.idle(run, shard_id, STALE_SECONDS * 2)
    assert again.sweep(is_quiet=True) == []
    assert {shard.refeeds for shard in again.rt.ledger.open_shards(run.run_id)} == {0}
    again.idle(run, shard_id, STALE_SECONDS * BUSY_FACTOR + 1)  # they died with their messages
    assert again.sweep(is_quiet=True) == [0, 1, 2, 3]


def test_a_full_shard_whose_message_was_lost_is_written(run: Run, fed: Published, again: Resends) -> None:
    finish(fed[:SHARD_ROWS], again.rt)
    shard_id = fed[0].shard_id
    again.idle(run, shard_id, STALE_SECONDS + 1)
    assert again.sweep(is_quiet=False) == []  # its message may wait in the results queue
    assert again.written == []
    assert again.sweep(is_quiet=True) == []
    assert again.written == [shard_id]
    assert again.sweep(is_quiet=True) == []
    assert again.written == [shard_id]


def test_a_shard_that_the_output_table_completes_is_written(run: Run, fed: Published, again: Resends) -> None:
    """Some rows are in the output since before the ledger was emptied, the others were judged after that."""
    shard_id = fed[0].shard_id
    finish(fed[:2], again.rt)
    failure = Failure(code="not_a_video", stage="infer", message="m", attempts=1)
    older = [pipeline.failed(row, failure, again.rt) for row in fed[2:SHARD_ROWS]]
    again.rt.output_table(run).write_batch("older", older)
    again.idle(run, shard_id, STALE_SECONDS + 1)
    assert again.sweep(is_quiet=True) == []
    assert again.written == [shard_id]
    assert pipeline.write_shard(run.run_id, shard_id, again.rt)
    assert again.rt.output_table(run).count_results(run.run_id) == SHARD_ROWS


def test_repeated_feeding_of_a_shard_becomes_rare(run: Run, fed: Published, again: Resends) -> None:
    """A day without workers leaves at most eight copies of each message."""
    shard_id, copies, idle_seconds = fed[0].shard_id, 1, 0.0
    for _minute in range(24 * 60):
        idle_seconds += 60
        again.idle(run, shard_id, idle_seconds)
        if again.sweep(is_quiet=False):
            copies, idle_seconds = copies + 1, 0.0
    assert copies <= 8


def test_the_limit_doubles_up_to_a_bound() -> None:
    shard = OpenShard("0-4", recorded=0, expected=4, idle_seconds=0.0, is_full=False, refeeds=0)
    for refeeds in (0, 1, 2, LONGEST_DOUBLINGS, LONGEST_DOUBLINGS + 1, 1000):
        limit_seconds = STALE_SECONDS * 2 ** min(refeeds, LONGEST_DOUBLINGS)
        for idle_seconds, expected in (
            (limit_seconds, Staleness.FRESH),
            (limit_seconds + 1, Staleness.STALE),
            (limit_seconds * BUSY_FACTOR, Staleness.STALE),
            (limit_seconds * BUSY_FACTOR + 1, Staleness.OVERDUE),
        ):
            aged = replace(shard, refeeds=refeeds, idle_seconds=idle_seconds)
            assert staleness(aged, STALE_SECONDS) is expected


def test_a_run_whose_input_is_gone_keeps_its_limit_and_stops_no_other_run(
    run: Run, fed: Published, again: Resends, tmp_path: Path
) -> None:
    rt = again.rt
    gone = RunSpec(f"sqlite:///{tmp_path}/gone.db#v", run.spec.outputs, ("vfx_enable",), "m", "d")
    lost, _ = rt.ledger.submit(gone, total_rows=ROWS, shard_rows=SHARD_ROWS, extra_columns=("extra",))
    shard = rt.ledger.claim_shard(lost.run_id, max_open=1)
    assert shard is not None
    again.idle(lost, shard.shard_id, STALE_SECONDS + 1)
    again.idle(run, fed[0].shard_id, STALE_SECONDS + 1)
    assert again.sweep(is_quiet=True) == [0, 1, 2, 3]
    trouble = rt.ledger.trouble(lost.run_id)
    assert trouble is not None
    assert "gone.db" in trouble.text
    assert [found.refeeds for found in rt.ledger.open_shards(lost.run_id)] == [0]


def test_the_queues_are_checked_only_for_stale_shards(run: Run, fed: Published, again: Resends) -> None:
    def fail() -> bool:
        raise AssertionError("the queues were checked")

    sweep(again.rt, Sender(again.published, print), fail)
    again.idle(run, fed[0].shard_id, STALE_SECONDS * BUSY_FACTOR + 1)
    sweep(again.rt, Sender(again.published, print), fail)
    assert len(again.published) == SHARD_ROWS


def test_a_missing_input_table_is_recorded_as_trouble_and_its_rows_are_fed_when_it_is_back(
    run: Run, fed: Published, again: Resends, tmp_path: Path
) -> None:
    with closing(sqlite3.connect(tmp_path / "in.db")) as db, db:
        db.execute("ALTER TABLE v RENAME TO elsewhere")
    again.idle(run, fed[0].shard_id, STALE_SECONDS + 1)
    assert again.sweep(is_quiet=True) == []
    assert again.rt.ledger.trouble(run.run_id) is not None
    with closing(sqlite3.connect(tmp_path / "in.db")) as db, db:
        db.execute("ALTER TABLE elsewhere RENAME TO v")
    assert again.sweep(is_quiet=True) == [0, 1, 2, 3]
    assert again.rt.ledger.trouble(run.run_id) is None
