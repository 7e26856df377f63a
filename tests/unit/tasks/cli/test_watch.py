"""`tamis watch`: the status of a run over a real ledger, as lines, as documents and as a page."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import redis
from click.testing import CliRunner
from rich.console import Console

from storage.ledger import Ledger, Run
from tasks import pipeline
from tasks.cli import watch as watch_command
from tasks.cli.run.live import line, page
from tasks.cli.run.waiting import WaitReason
from tasks.cli.terminal.group import tamis_group
from tasks.cli.watch import follow
from tasks.resources.runtime import Runtime
from tasks.runs.status import RunStatus, WorkerWork
from tests.unit.storage.ledger.test_figures import judged
from tests.unit.tasks.small_run import ROWS, Published, finish

WORKERS = (WorkerWork("gpu0@n1", "ready", 3, 2, is_taking=True), WorkerWork("io@n1", "ready", 0, 0, is_taking=False))


class Clock:
    """Time that passes only while the watching sleeps; ``between`` runs then."""

    def __init__(self) -> None:
        self.now, self.asked = 0.0, 0
        self.between: Callable[[], object] = lambda: None

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        self.between()

    def ask(self) -> tuple[WorkerWork, ...]:
        self.asked += 1
        return WORKERS


@pytest.fixture
def clock() -> Clock:
    return Clock()


def watched(run: Run, ledger: Ledger, clock: Clock) -> Iterator[tuple[RunStatus, list[WaitReason]]]:
    def reasons(is_silent: bool) -> list[WaitReason]:
        return [WaitReason("silent", "nothing moves", "look")] if is_silent else []

    seen: Any = follow(run.run_id, ledger, clock.ask, reasons, now=lambda: clock.now, sleep=clock.sleep)
    return seen  # type: ignore[no-any-return]


def record_some(run: Run, rt: Runtime) -> Published:
    fed = Published()
    pipeline.feed(run.run_id, rt, fed)
    for row in fed[:2]:
        pipeline.record(row, judged(row.ordinal, run.run_id), rt)
    finish(fed[2:3], rt)
    return fed


def test_a_status_has_rows_stages_tiers_failures_and_workers(run: Run, rt: Runtime, clock: Clock) -> None:
    record_some(run, rt)
    status, _ = next(watched(run, rt.ledger, clock))
    assert (status.counts.ok, status.counts.failed) == (2, 1)
    assert status.slowest is not None
    assert (status.slowest.stage, status.stages[0].stage, status.stages[0].is_wait) == ("decode", "queue", True)
    assert sum(stage.share for stage in status.stages) == pytest.approx(1)
    text = line(status)
    for part in ("3/10", "1 failed: 1 not_a_video", "slowest decode 300 ms (23%)", "from cpfs 2", "gpu0@n1 2"):
        assert part in text
    document = json.loads(json.dumps(status.to_json(), default=vars_of))
    assert document["tiers"] == {"cpfs": 2}
    assert document["in_flight"] == ROWS - 3


def vars_of(value: Any) -> dict[str, Any]:
    return {name: getattr(value, name) for name in value.__dataclass_fields__}


def test_the_page_shows_the_slowest_stage_and_workers_that_take_nothing(run: Run, rt: Runtime, clock: Clock) -> None:
    record_some(run, rt)
    rt.ledger.orders.pause(run.run_id)
    status, _ = next(watched(run, rt.ledger, clock))
    printed = io.StringIO()
    Console(file=printed, width=100).print(page(status, [WaitReason("k", "an operator has paused the run", "resume")]))
    shown = printed.getvalue()
    assert f"run {run.run_id}: paused" in shown
    assert "an operator has paused the run: resume" in shown
    (decode,) = [one for one in shown.splitlines() if one.startswith("decode")]
    assert decode.split()[-1] == "slowest"
    (io_line,) = [one for one in shown.splitlines() if one.startswith("io@n1")]
    assert "takes nothing new" in io_line


def test_a_terminal_shows_the_page(run: Run, rt: Runtime, clock: Clock) -> None:
    record_some(run, rt)
    rt.ledger.orders.cancel(run.run_id)
    for shard_id in pipeline.shards_to_cut(run.run_id, rt):
        pipeline.write_shard(run.run_id, shard_id, rt)
    printed = io.StringIO()
    terminal = Console(file=printed, width=100, force_terminal=True, color_system=None)
    watch_command._draw(iter(watched(run, rt.ledger, clock)), terminal)
    assert f"run {run.run_id}: cancelled" in printed.getvalue()
    assert "gpu0@n1" in printed.getvalue()


def test_watching_ends_with_the_run_and_asks_workers_now_and_then(run: Run, rt: Runtime, clock: Clock) -> None:
    fed = record_some(run, rt)
    steps = iter([lambda: None] * 8)

    def go_on() -> None:
        if next(steps, None) is None:
            for shard_id in finish([*fed[3:]], rt):
                pipeline.write_shard(run.run_id, shard_id, rt)
            rest = Published()
            pipeline.feed(run.run_id, rt, rest)
            for shard_id in finish(rest, rt):
                pipeline.write_shard(run.run_id, shard_id, rt)

    clock.between = go_on
    seen = list(watched(run, rt.ledger, clock))
    assert seen[-1][0].run.is_complete
    assert [reason.key for reason in seen[7][1]] == ["silent"]
    assert seen[-1][1] == []
    assert clock.asked == 2


def test_a_wiped_ledger_and_a_cancelled_run_are_told_apart(
    run: Run, rt: Runtime, clock: Clock, client: redis.Redis
) -> None:
    seen = watched(run, rt.ledger, clock)
    next(seen)
    client.flushall()
    status, reasons = next(seen)
    assert (status.run.run_id, [reason.key for reason in reasons]) == (run.run_id, ["lost"])
    rt.ledger.submit(run.spec, total_rows=ROWS, shard_rows=4, extra_columns=run.extra_columns)
    assert next(seen)[1] == []
    rt.ledger.orders.cancel(run.run_id)
    status, _ = next(seen)
    assert (status.run.state, status.is_over) == ("cancelled", True)
    assert list(seen) == []


def test_the_command_prints_a_line_and_a_document(run: Run, rt: Runtime, monkeypatch: pytest.MonkeyPatch) -> None:
    record_some(run, rt)
    rt.ledger.orders.cancel(run.run_id)
    for shard_id in pipeline.shards_to_cut(run.run_id, rt):
        pipeline.write_shard(run.run_id, shard_id, rt)
    monkeypatch.setattr(watch_command, "open_ledger", lambda: rt.ledger)
    monkeypatch.setattr(watch_command, "work_of_workers", lambda *_: WORKERS)
    words = ["-A", "tasks", "watch", run.run_id[:8]]
    shown = CliRunner().invoke(tamis_group(), words, prog_name="tamis")
    assert shown.exit_code == 0, shown.output
    assert shown.stdout.startswith("cancelled  3/10")
    document = json.loads(CliRunner().invoke(tamis_group(), [*words, "--json"], prog_name="tamis").stdout)
    assert (document["state"], document["failures"]) == ("cancelled", {"not_a_video": 1})
    assert document["workers"][0]["name"] == "gpu0@n1"
