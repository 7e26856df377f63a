"""Records of runs: written while a real small run goes on, read without its ledger, and shown as a page."""

from __future__ import annotations

import logging
import sqlite3
from contextlib import closing
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import redis
from click.testing import CliRunner

from storage.ledger import Periods, Run
from storage.tables.open import open_input, open_output
from tasks import pipeline
from tasks.cli.run_report import run_report
from tasks.cli.runs import runs
from tasks.history import note
from tasks.history.record import RunLine, RunRecord
from tasks.history.report import report_page
from tasks.history.table import read_lines, read_record, write_record
from tasks.resources import runtime
from tasks.resources.runtime import Runtime
from tests.unit.storage.tables.odps.odps_service import odps_service, table_of
from tests.unit.tasks.small_run import ROWS, Published, finish

LINE = RunLine(
    run="0123456789abcdef",
    state="complete",
    submitted_at="2025-01-15T02:00:00.000+00:00",
    updated_at="2025-01-15T03:00:00.000+00:00",
    ended_at="2025-01-15T02:59:00.000+00:00",
    total_rows=100,
    ok_rows=90,
    failed_rows=10,
    kept_rows=40,
    input="sqlite:////in.db#v",
    output="",
    manifest="tiny",
)
DETAILS = {
    "configuration": {"filters": ["vfx_enable"], "manifest_digest": "d1", "tamis": "0.1.0"},
    "failures": {"not_a_video": 10},
    "stages": {"decode": {"rows": 90, "milliseconds": 27_000}},
    "row_seconds": [[0.3, 60], [0.6, 30]],
    "progress": [["2025-01-15T02:00:10+00:00", 1], ["2025-01-15T02:00:20+00:00", 41]],
    "models": {"vfx": {"a1b2": 90}},
    "thresholds": {"vfx_filter": {"max": 0.8}},
    "decided_by": {"t1": 90},
}


def complete(run: Run, rt: Runtime) -> None:
    while not rt.ledger.run(run.run_id).is_complete:  # type: ignore[union-attr]
        published = Published()
        pipeline.feed(run.run_id, rt, published)
        for shard_id in finish(published, rt):
            pipeline.write_shard(run.run_id, shard_id, rt)


def record(tmp_path: Path, **changes: str | int) -> RunRecord:
    return RunRecord(replace(LINE, output=f"sqlite:///{tmp_path}/out.db#results/ds=1", **changes), DETAILS)  # type: ignore[arg-type]


def test_the_record_stands_beside_the_results_and_needs_no_ledger(run: Run, rt: Runtime, client: redis.Redis) -> None:
    with closing(open_output(run.spec.outputs)) as table:
        table.prepare(("extra",))
    note.write_now(run.run_id, rt)
    assert [line.state for line in read_lines(run.spec.outputs)] == ["open"]
    complete(run, rt)
    note.write_now(run.run_id, rt)
    client.flushall()
    (line,) = read_lines(run.spec.outputs)
    assert (line.run, line.state, line.total_rows, line.failed_rows) == (run.run_id, "complete", ROWS, ROWS)
    assert read_record(run.spec.outputs, run.run_id[:6]).details["failures"] == {"not_a_video": ROWS}


def test_a_record_is_due_at_first_then_at_times_and_at_each_end(run: Run, rt: Runtime, client: redis.Redis) -> None:
    with closing(open_output(run.spec.outputs)) as table:
        table.prepare(("extra",))
    rt.periods = Periods(client)
    assert [note.is_due(run.run_id, rt) for _ in range(3)] == [True, False, False]
    complete(run, rt)
    assert [note.is_due(run.run_id, rt) for _ in range(2)] == [True, False]
    assert not note.is_due("unknown", rt)


def test_a_record_that_cannot_be_written_is_deferred_and_its_run_goes_on(
    run: Run, rt: Runtime, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with closing(sqlite3.connect(run.spec.outputs.removeprefix("sqlite:///").partition("#")[0])) as db:
        db.execute("CREATE TABLE r_runs (other TEXT)")
    monkeypatch.setattr(runtime, "current", lambda: rt)
    with caplog.at_level(logging.WARNING):
        note.note_run(run.run_id)
    assert "its record is not written" in caplog.text
    assert "again in" in caplog.text
    assert rt.deferred.count_steps() == 0, "the sweep does not wait for it"
    with closing(open_output(run.spec.outputs)) as table:
        table.prepare(("extra",))
    complete(run, rt)


def test_the_newest_record_of_a_run_counts_and_a_repeated_write_has_one_effect(tmp_path: Path) -> None:
    first = record(tmp_path, state="open", updated_at="2025-01-15T02:30:00.000+00:00")
    for generation, one in ((1, first), (2, record(tmp_path)), (2, record(tmp_path)), (1, first)):
        write_record(one, generation)
    (line,) = read_lines(first.line.output)
    assert line == record(tmp_path).line
    assert read_record(first.line.output, "0123").details == DETAILS


def test_a_record_after_a_wipe_of_the_ledger_keeps_the_sums_of_the_one_before(
    run: Run, rt: Runtime, client: redis.Redis
) -> None:
    with closing(open_output(run.spec.outputs)) as table:
        table.prepare(("extra",))
    line = replace(LINE, run=run.run_id, output=run.spec.outputs, state="open", ended_at="")
    write_record(RunRecord(line, DETAILS), 1)
    shard = rt.ledger.claim_shard(run.run_id, max_open=1)
    assert shard is not None
    rt.ledger.settle(run.run_id, shard.shard_id, {0: "ok"})  # it stands in the output; its times are not known any more
    note.write_now(run.run_id, rt)
    found = read_record(run.spec.outputs, run.run_id)
    assert found.details["row_seconds"] == DETAILS["row_seconds"]
    assert (found.line.state, found.line.kept_rows, found.line.total_rows) == ("open", 40, ROWS)
    assert found.line.submitted_at == LINE.submitted_at


def test_runs_of_all_partitions_are_listed_newest_first_without_a_broker(tmp_path: Path) -> None:
    for number in range(3):
        write_record(record(tmp_path, run=f"{number:016x}", submitted_at=f"2025-01-1{number}T00:00:00.000+00:00"), 1)
    outputs = f"sqlite:///{tmp_path}/out.db#results/ds=9"
    result = CliRunner().invoke(runs, ["--all", "--outputs", outputs])
    assert result.exit_code == 0, result.output
    heading, *lines = result.output.splitlines()
    assert heading.split()[:1] == ["run"]
    assert [line.split()[0] for line in lines] == [f"{number:016x}" for number in (2, 1, 0)]


def test_both_kinds_of_maxcompute_table_hold_the_records(tmp_path: Path) -> None:
    with odps_service() as service:
        for kind in ("append", "delta"):
            connection = service.connection(kind)
            outputs = f"odps://{service.project}/{table_of(tmp_path, kind)}/ds=20250115"
            one = RunRecord(replace(LINE, output=outputs), DETAILS)
            older = RunRecord(replace(one.line, state="open", updated_at="2025-01-15T02:30:00.000+00:00"), DETAILS)
            for generation, written in ((1, older), (2, one)):
                write_record(written, generation, partial(open_output, odps=connection))
            assert read_record(outputs, "0123", partial(open_input, odps=connection)).details == DETAILS


@pytest.mark.parametrize("flags", [["--all"], ["--all", "--json"], ["0123", "--all", "--outputs", "x"]])
def test_all_needs_an_output_table_and_no_run(flags: list[str]) -> None:
    result = CliRunner().invoke(runs, flags)
    assert result.exit_code == 2
    assert "--outputs URL" in result.output


def test_an_output_without_records_is_named(tmp_path: Path) -> None:
    result = CliRunner().invoke(runs, ["--all", "--outputs", f"sqlite:///{tmp_path}/none.db#results"])
    assert result.exit_code == 2
    assert "no run has a record" in result.output


def test_the_report_is_one_file_with_every_part_of_the_record(tmp_path: Path) -> None:
    write_record(record(tmp_path), 1)
    page = tmp_path / "page.html"
    outputs = f"sqlite:///{tmp_path}/out.db#results"
    result = CliRunner().invoke(run_report, ["0123", "--outputs", outputs, "-o", str(page)])
    assert result.exit_code == 0, result.output
    text = page.read_text(encoding="utf-8")
    for part in ("0123456789abcdef", "not_a_video", "decode", "a1b2", "max 0.8", "t1", "vfx_enable", "吞吐量", "<rect"):
        assert part in text
    assert "src=" not in text
    assert "http" not in text.replace("http-equiv", ""), "nothing is loaded from elsewhere"
    assert "4.00" in text, "40 rows in 10 s"


def test_texts_of_a_record_are_escaped_in_the_report(tmp_path: Path) -> None:
    hostile = replace(record(tmp_path, input="<script>alert(1)</script>"), details={"failures": {"<b>": 1}})
    text = report_page(hostile)
    assert "<script>alert" not in text
    assert "&lt;b&gt;" in text
