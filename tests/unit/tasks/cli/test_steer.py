"""`tamis pause`, `resume`, `cancel` and `failures`, in the test's own process, over a real ledger."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from click.testing import CliRunner, Result

from storage.ledger import Run, RunOrder
from tasks import pipeline
from tasks.cli import failures as failures_command
from tasks.cli import runs as runs_command
from tasks.cli import steer
from tasks.cli.terminal.group import tamis_group
from tasks.resources.runtime import Runtime
from tests.unit.tasks.small_run import ROWS, Published, finish

Tamis = Callable[..., Result]


@pytest.fixture
def tamis(rt: Runtime, monkeypatch: pytest.MonkeyPatch) -> Tamis:
    """Run a command against the test's ledger. A woken feeder cuts the shards of a cancelled run, as a worker does."""

    def wake(run_id: str) -> None:
        if rt.ledger.orders.of(run_id) is RunOrder.CANCELLED:
            for shard_id in pipeline.shards_to_cut(run_id, rt):
                pipeline.write_shard(run_id, shard_id, rt)

    for module in (steer, failures_command, runs_command):
        monkeypatch.setattr(module, "open_ledger", lambda: rt.ledger)
    monkeypatch.setattr(steer, "wake_feeder", wake)
    monkeypatch.setattr(steer, "POLL_SECONDS", 0.0)
    return lambda *words: CliRunner().invoke(tamis_group(), ["-A", "tasks", *words], prog_name="tamis")


def answer_of(result: Result) -> dict[str, object]:
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)  # type: ignore[no-any-return]


def test_a_paused_run_is_listed_as_paused_and_says_how_it_goes_on(run: Run, rt: Runtime, tamis: Tamis) -> None:
    assert answer_of(tamis("pause", run.run_id[:6], "--json"))["state"] == "paused"
    shown = tamis("runs", run.run_id).stdout
    assert f"run {run.run_id}: paused" in shown
    assert f"an operator has paused the run: `tamis resume {run.run_id}` lets it go on" in shown
    assert f"run {run.run_id} goes on" in tamis("resume", run.run_id).stdout
    assert rt.ledger.orders.of(run.run_id) is RunOrder.NONE


def test_cancel_returns_when_what_was_judged_is_written(run: Run, rt: Runtime, tamis: Tamis) -> None:
    fed = Published()
    pipeline.feed(run.run_id, rt, fed)
    finish(fed[:3], rt)
    assert answer_of(tamis("cancel", run.run_id, "--json")) == {
        "run": run.run_id,
        "state": "cancelled",
        "ok": 0,
        "failed": 3,
        "without_result": ROWS - 3,
        "open_shards": 0,
    }
    listed = answer_of(tamis("failures", run.run_id, "--json"))["failures"]
    assert isinstance(listed, list)
    assert [one["ordinal"] for one in listed] == [0, 1, 2]
    assert {one["code"] for one in listed} == {"not_a_video"}
    assert f"rows {ROWS} = ok 0 + failed 3 + without result {ROWS - 3}" in tamis("runs", run.run_id).stdout


@pytest.mark.parametrize("command", ["pause", "resume"])
def test_a_cancelled_run_takes_no_other_order(command: str, run: Run, rt: Runtime, tamis: Tamis) -> None:
    rt.ledger.orders.cancel(run.run_id)
    result = tamis(command, run.run_id)
    assert result.exit_code == 2
    assert "was cancelled" in result.stderr


def test_a_complete_run_takes_no_order(run: Run, rt: Runtime, tamis: Tamis) -> None:
    while (fed := Published()) is not None and pipeline.feed(run.run_id, rt, fed):
        for shard_id in finish(fed, rt):
            pipeline.write_shard(run.run_id, shard_id, rt)
    for command in ("pause", "resume", "cancel"):
        result = tamis(command, run.run_id)
        assert (result.exit_code, "is complete" in result.stderr) == (2, True)


def test_failures_of_a_reason_that_no_row_has_say_so(run: Run, rt: Runtime, tamis: Tamis) -> None:
    fed = Published()
    pipeline.feed(run.run_id, rt, fed)
    for shard_id in finish(fed[:4], rt):
        pipeline.write_shard(run.run_id, shard_id, rt)
    assert "no written row" in tamis("failures", run.run_id, "--reason", "object_missing").stdout
    assert tamis("failures", run.run_id, "--reason", "not_a_video").stdout.count("not_a_video") == 4
