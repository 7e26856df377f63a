"""`tamis retry` and `tamis runs` on unfinished, wiped and waiting runs, over a real broker."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import redis

from storage.ledger import Ledger, Run
from tasks import pipeline
from tasks.cli.retry import why_none
from tasks.cli.run import conclude
from tasks.resources.runtime import Runtime
from tasks.settings import Settings
from tasks.submit import reopen
from tests.unit.tasks.small_run import ROWS, SHARD_ROWS, Published, finish
from tests.valkey import ValkeyServer


def complete(run: Run, rt: Runtime) -> None:
    while (fed := Published()) is not None and pipeline.feed(run.run_id, rt, fed):
        for shard_id in finish(fed, rt):
            pipeline.write_shard(run.run_id, shard_id, rt)


def wipe_and_resubmit(run: Run, rt: Runtime, client: redis.Redis) -> None:
    client.flushall()
    rt.ledger.submit(run.spec, total_rows=ROWS, shard_rows=SHARD_ROWS, extra_columns=run.extra_columns)


def now(run: Run, ledger: Ledger) -> Run:
    found = ledger.run(run.run_id)
    assert found is not None
    return found


def tamis(server: ValkeyServer, tmp_path: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("TAMIS_")}
    clean["TAMIS_MANIFEST"] = "tiny"
    return subprocess.run(
        [sys.executable, "-c", "import sys; from tasks.cli import main; sys.exit(main())", *arguments],
        cwd=tmp_path,
        env=clean | {"TAMIS_BROKER_URL": server.url, "TAMIS_STATE_DIR": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_a_retry_right_after_a_wipe_says_that_the_run_is_still_being_fed(
    run: Run, rt: Runtime, client: redis.Redis, server: ValkeyServer, tmp_path: Path
) -> None:
    complete(run, rt)
    wipe_and_resubmit(run, rt, client)
    answer = tamis(server, tmp_path, "retry", run.run_id, "--no-wait")
    assert answer.returncode == 2
    (line,) = answer.stderr.strip().splitlines()
    assert f"run {run.run_id} is still being fed (0 of {ROWS} rows fed, {ROWS} in flight)" in line
    assert f"{ROWS} of its rows failed" in line
    assert "retry when it is complete" in line


def test_a_retry_reopens_failed_rows_that_are_recorded_again_and_counts_the_rest(
    run: Run, rt: Runtime, client: redis.Redis
) -> None:
    complete(run, rt)
    wipe_and_resubmit(run, rt, client)
    shard = rt.ledger.claim_shard(run.run_id, max_open=1)
    assert shard is not None
    pipeline.feed_again(run.run_id, shard.shard_id, shard.ordinals, rt, Published())
    assert reopen(now(run, rt.ledger), None, rt.ledger) == (ROWS, SHARD_ROWS)


def test_a_complete_run_without_such_failures_names_its_reasons(run: Run, rt: Runtime) -> None:
    complete(run, rt)
    finished = now(run, rt.ledger)
    assert reopen(finished, "object_missing", rt.ledger) == (0, 0)
    text = why_none(finished, "object_missing", 0, rt.ledger)
    assert (
        text
        == f"no row of run {run.run_id} failed with reason object_missing; the reasons of its failures: not_a_video"
    )


def test_an_open_run_without_failures_says_that_it_is_not_complete(run: Run, rt: Runtime) -> None:
    text = why_none(now(run, rt.ledger), None, 0, rt.ledger)
    assert "still being fed" in text
    assert "no row has failed at all yet" in text


def test_a_run_shows_why_it_waits(run: Run, rt: Runtime, server: ValkeyServer, tmp_path: Path) -> None:
    rt.ledger.note_trouble(run.run_id, "/in.db has no table [v]", step="feed")
    answer = tamis(server, tmp_path, "runs", run.run_id)
    assert answer.returncode == 0, answer.stderr
    assert "feed waits: /in.db has no table [v] (" in answer.stdout


def test_a_complete_run_of_which_every_row_failed_ends_with_status_3(
    run: Run, rt: Runtime, server: ValkeyServer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    complete(run, rt)
    monkeypatch.setattr(conclude, "settings", lambda: Settings.of(broker_url=server.url))
    with pytest.raises(SystemExit) as ended:
        conclude.conclude(now(run, rt.ledger), rt.ledger)
    assert ended.value.code == 3
    printed = capsys.readouterr()
    assert f"rows {ROWS} = ok 0 + failed {ROWS} + in flight 0" in printed.out
    assert f"`tamis runs {run.run_id} --failures`" in printed.out
    assert "not_a_video" in printed.err


def test_failures_are_listed_with_their_messages(run: Run, rt: Runtime, server: ValkeyServer, tmp_path: Path) -> None:
    complete(run, rt)
    answer = tamis(server, tmp_path, "runs", run.run_id[:6], "--failures")
    assert answer.returncode == 0, answer.stderr
    listed = [" ".join(line.split()) for line in answer.stdout.splitlines()]
    assert all(f"{number} video{number} not_a_video infer m" in listed for number in range(ROWS))


def test_a_submitted_run_is_named_on_standard_output_and_untrained_weights_on_standard_error(
    server: ValkeyServer, tmp_path: Path
) -> None:
    row = {"video_id": "v", "oss_bucket": "bucket", "video_path": "a", "video_tag": "", "info": ""}
    (tmp_path / "in.jsonl").write_text(json.dumps(row) + "\n")
    answer = tamis(server, tmp_path, "sift", "--no-wait", "--tables", "in.jsonl", "--outputs", "sqlite:///out.db#r")
    assert answer.returncode == 0, answer.stderr
    opening, hint = answer.stdout.splitlines()
    run_id = opening.split()[1]
    assert opening.startswith(f"run {run_id}")
    assert hint == f"watch it with: tamis runs {run_id}"
    assert "untrained weights" in answer.stderr
