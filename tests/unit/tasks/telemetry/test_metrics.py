"""The samples of a scrape during a small run."""

from __future__ import annotations

import redis
from celery import Celery
from prometheus_client import CollectorRegistry, generate_latest
from redis.backoff import NoBackoff
from redis.retry import Retry

from storage.ledger import Ledger
from storage.records import Failure
from tasks import pipeline
from tasks.messages import RowMessage
from tasks.telemetry.metrics.fleet import FleetCollector
from tasks.telemetry.metrics.instruments import REGISTRY
from tasks.telemetry.metrics.process import ProcessCollector
from tasks.telemetry.pulse import Pulse, WorkerPhase
from tests.unit.tasks.small_run import Published


def scrape(*collectors) -> str:
    registry = CollectorRegistry()
    for collector in collectors:
        registry.register(collector)
    return generate_latest(registry).decode()


def test_before_the_runtime_is_open_a_scrape_shows_the_phase():
    text = scrape(ProcessCollector(lambda: None, Pulse(phase=WorkerPhase.STARTING)))
    assert 'tamis_worker_phase{phase="starting"} 1.0' in text
    assert not lines(text, "tamis_spool_files ")


def test_tiers_and_spool_show_what_was_downloaded(rt, run):
    row = fed(rt, run)[0]
    pipeline.download(row, rt)
    text = scrape(ProcessCollector(lambda: rt, Pulse()))
    assert 'tamis_tier_hits_total{tier="oss"} 1.0' in text
    assert 'tamis_spool_bytes{state="used"} 5.0' in text
    assert "tamis_spool_leases 1.0" in text
    assert 'tamis_tier_breaker_open{tier="oss"} 0.0' in text
    assert 'tamis_worker_node{node="n1"} 1.0' in text


def test_a_recorded_row_is_counted_once_under_its_outcome(rt, run):
    row = fed(rt, run)[0]
    before = recorded("no_such_code")
    result = pipeline.failed(row, failure("no_such_code"), rt)
    pipeline.record(row, result, rt)
    pipeline.record(row, result, rt)
    assert recorded("no_such_code") - before == 1


def test_the_fleets_rows_add_up_and_a_ledger_that_does_not_answer_fails_no_scrape(rt, run, server):
    rows = fed(rt, run)
    pipeline.record(rows[0], pipeline.failed(rows[0], failure("corrupt"), rt), rt)
    broker = Celery("client", broker=server.url, set_as_current=False)
    text = scrape(FleetCollector(rt.ledger, broker))
    states = {
        line.split('state="')[1].split('"')[0]: float(line.split()[-1]) for line in lines(text, "tamis_run_rows{")
    }
    assert states["failed"] == 1
    assert sum(states.values()) == run.total_rows
    assert states["held"] == 0
    assert len(lines(text, "tamis_run_failures{")) == 1
    assert 'tamis_queue_messages{queue="io"} 0.0' in text
    rt.ledger.orders.pause(run.run_id)
    held = [
        line for line in lines(scrape(FleetCollector(rt.ledger, broker)), "tamis_run_rows{") if 'state="held"' in line
    ]
    assert float(held[0].split()[-1]) == states["in_flight"], "a paused run is not stalled"

    gone = redis.Redis.from_url("redis://127.0.0.1:1/0", retry=Retry(NoBackoff(), 0))
    assert "# TYPE tamis_run_rows gauge" in scrape(FleetCollector(Ledger(gone), broker))


def lines(text: str, start: str) -> list[str]:
    return [line for line in text.splitlines() if line.startswith(start)]


def recorded(outcome: str) -> float:
    return REGISTRY.get_sample_value("tamis_rows_recorded_total", {"outcome": outcome}) or 0.0


def failure(code: str) -> Failure:
    return Failure(code=code, stage="download", message="made up", attempts=1)


def fed(rt, run) -> list[RowMessage]:
    rows = Published()
    pipeline.feed(run.run_id, rt, rows)
    return rows
