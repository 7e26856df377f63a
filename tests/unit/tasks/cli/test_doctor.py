"""`tamis doctor`: each check as it runs, with a deadline; queues without worker, waiting runs, warnings."""

from __future__ import annotations

import io
import threading
from collections.abc import Iterator

import redis
from rich.console import Console

from storage.ledger import Run, WorkerReport, WorkerReports
from tasks.cli.doctor import Finding, check_runs, check_workers, print_finding, run_check
from tasks.resources.runtime import Runtime
from tasks.settings import Settings

QUEUES = ["io", "gpu", "gpu.n1", "results", "control"]


def quiet() -> Console:
    return Console(file=io.StringIO())


def test_findings_come_while_the_check_runs() -> None:
    may_end = threading.Event()

    def check() -> Iterator[Finding]:
        yield Finding("first", is_well=True, found="here")
        may_end.wait(60)
        yield Finding("second", is_well=True, found="here")

    findings = run_check("tiers", check, quiet())
    assert next(findings).subject == "first"
    may_end.set()
    assert [finding.subject for finding in findings] == ["second"]


def test_a_check_that_hangs_is_a_finding_at_its_deadline() -> None:
    end = threading.Event()

    def hang() -> Iterator[Finding]:
        end.wait(60)
        yield Finding("tiers", is_well=True, found="late")

    (finding,) = run_check("tiers", hang, quiet(), deadline_seconds=0.05)
    assert (finding.is_well, finding.found) == (False, "no answer within 0.05 s")
    end.set()


def test_a_fleet_that_serves_every_queue_is_well(rt: Runtime, client: redis.Redis) -> None:
    rt.ledger.heartbeats.beat_node("n1", QUEUES)
    (finding,) = check_workers(rt.ledger, WorkerReports(client), Settings.of(node="n1"))
    assert finding.is_well
    assert finding.found.endswith("by the nodes n1")


def test_models_that_warm_up_are_a_warning_and_a_missing_queue_is_to_fix(rt: Runtime, client: redis.Redis) -> None:
    rt.ledger.heartbeats.beat_node("n1", ["results", "control"])
    WorkerReports(client).put(WorkerReport("gpu0@n1", "warming", frozenset({"gpu", "gpu.n1"}), 12.0))
    warming, missing = check_workers(rt.ledger, WorkerReports(client), Settings.of(node="n1"))
    assert (warming.is_well, warming.is_warning) == (True, True)
    assert warming.found == "gpu0@n1 warms its models up (0:12 so far)"
    assert (missing.is_well, missing.found) == (False, "no worker serves the queues io")


def test_a_run_that_waits_for_a_table_is_named(run: Run, rt: Runtime) -> None:
    assert list(check_runs(rt.ledger)) == []
    rt.ledger.note_trouble(run.run_id, "/in.db is gone", step="feed")
    (finding,) = check_runs(rt.ledger)
    assert (finding.subject, finding.found) == (f"run {run.run_id}", "feed waits: /in.db is gone")


def test_a_finding_is_data_and_its_remedy_stands_below_it() -> None:
    printed = io.StringIO()
    console = Console(file=printed, width=200)
    print_finding(Finding("tier oss", is_well=False, found="[red]gone\x1b[0m", remedy="mount [it]"), console)
    print_finding(Finding("spool", is_well=True, found="large", remedy="shrink it", is_warning=True), console)
    print_finding(Finding("broker", is_well=True, found="answers", remedy="unused"), console)
    assert printed.getvalue().splitlines() == [
        "✗ tier oss: [red]gone\\x1b[0m",
        "  fix tier oss: mount [it]",
        "! spool: large",
        "  fix spool: shrink it",
        "✓ broker: answers",
    ]


def test_a_drained_worker_is_a_warning_while_others_serve_its_queues(rt: Runtime, client: redis.Redis) -> None:
    rt.ledger.heartbeats.beat_node("n2", QUEUES)
    WorkerReports(client).put(WorkerReport("io@n1", "drained", frozenset({"io"}), 1.0))
    drained, served = check_workers(rt.ledger, WorkerReports(client), Settings.of(node="n1"))
    assert (drained.is_well, drained.is_warning, served.is_well) == (True, True, True)
    assert drained.remedy == "`tamis control resume -d io@n1` lets it take messages again"
