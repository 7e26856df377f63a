"""Batches into an ordinary MaxCompute table: after any fault, the table holds each row once."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest
import redis

from storage.errors import Unavailable, UsageError
from storage.ledger import RedisJournal
from storage.records import OUTPUT_COLUMNS
from storage.tables.batch_journal import BatchJournal, MemoryJournal
from storage.tables.odps import snapshot
from storage.tables.odps.connection import OdpsTimeLimits
from storage.tables.odps.output.table import OdpsOutput
from storage.tables.odps.rows import Stamp
from storage.uri import TableUrl
from tests.servers.faults import Rule, WireFault
from tests.servers.odps.refusals import refusal_fault
from tests.unit.storage.tables.odps.odps_service import ROOT, Service, odps_server
from tests.unit.storage.tables.table_rows import failed, succeeded

COMMIT = r"^POST .*uploadid="
BLOCK = r"^PUT .*blockid="
ROWS = [succeeded(number) for number in range(20)]
SHORT = OdpsTimeLimits(retry_seconds=0.05, first_wait_seconds=0.001, longest_wait_seconds=0.01)


class Sink:
    """A partition, its journal, and its workers."""

    def __init__(self, service: Service, journal: BatchJournal) -> None:
        assert service.server is not None
        self.service, self.server, self.journal = service, service.server, journal
        self.server.create_table("results", dict.fromkeys(OUTPUT_COLUMNS, "string"), partitions={"ds": "string"})
        self.server.insert("results", [], "ds=1")

    def worker(self, limits: OdpsTimeLimits | None = None) -> OdpsOutput:
        connection = self.service.connection(journal=self.journal)
        url = TableUrl.parse(f"odps://{self.service.project}/results/ds=1")
        return OdpsOutput(url, replace(connection, limits=limits or connection.limits))

    def ids(self) -> Counter[object]:
        return Counter(row["video_id"] for row in self.server.rows("results", "ds=1"))

    def commits(self) -> int:
        return sum(entry.method == "POST" and "uploadid=" in entry.target for entry in self.server.requests)


@pytest.fixture
def service() -> Iterator[Service]:
    with odps_server() as running:
        yield running


@pytest.fixture
def sink(service: Service) -> Sink:
    return Sink(service, MemoryJournal())


ONCE = Counter(row.video_id for row in ROWS)


def test_a_commit_whose_reply_is_lost_is_not_repeated(sink: Sink) -> None:
    sink.server.faults.add(Rule(WireFault("lose_reply"), COMMIT, times=1))
    sink.worker().write_batch("run/0-20", ROWS)
    assert sink.ids() == ONCE


def test_a_redelivery_after_lost_replies_writes_nothing(sink: Sink) -> None:
    sink.server.faults.add(Rule(WireFault("lose_reply"), COMMIT))
    sink.server.faults.add(Rule(WireFault("reset"), r"^GET .*uploadid=", skip=2))  # so the session's status is unknown
    with pytest.raises(Unavailable):
        sink.worker(SHORT).write_batch("run/0-20", ROWS)
    assert sink.ids() == ONCE  # committed, but no reply said so
    sink.server.faults.clear()
    for _ in range(2):
        sink.worker().write_batch("run/0-20", ROWS)
    assert sink.ids() == ONCE


def test_a_batch_that_was_sent_but_not_committed_is_committed_by_the_next(sink: Sink) -> None:
    sink.server.faults.add(Rule(WireFault("reset"), COMMIT))
    with pytest.raises(Unavailable):
        sink.worker(SHORT).write_batch("run/0-20", ROWS)
    assert sink.ids() == Counter()
    sink.server.faults.clear()
    sink.worker().write_batch("run/0-20", ROWS)
    assert sink.ids() == ONCE
    assert sum(entry.method == "PUT" for entry in sink.server.requests) == 1  # the block was already there


@pytest.mark.parametrize("is_forgotten", [False, True])
def test_a_session_that_ended_before_its_commit_is_replaced(sink: Sink, is_forgotten: bool) -> None:
    sink.server.faults.add(Rule(WireFault("reset"), COMMIT))
    with pytest.raises(Unavailable):
        sink.worker(SHORT).write_batch("run/0-20", ROWS)
    sink.server.faults.clear()
    sink.server.expire_sessions(is_forgotten=is_forgotten)
    sink.worker().write_batch("run/0-20", ROWS)
    assert sink.ids() == ONCE


@pytest.mark.parametrize("is_forgotten", [False, True])
def test_a_session_that_ended_after_its_commit_is_recognised_by_its_rows(sink: Sink, is_forgotten: bool) -> None:
    sink.server.faults.add(Rule(WireFault("lose_reply"), COMMIT))
    sink.server.faults.add(Rule(WireFault("reset"), r"^GET .*uploadid=", skip=2))
    with pytest.raises(Unavailable):
        sink.worker(SHORT).write_batch("run/0-20", ROWS)
    sink.server.faults.clear()
    sink.server.expire_sessions(is_forgotten=is_forgotten)
    sink.worker().write_batch("run/0-20", ROWS)
    assert sink.ids() == ONCE


def test_a_journal_that_lost_its_memory_does_not_write_a_batch_again(sink: Sink) -> None:
    old = sink.worker()
    old.write_batch("run/0-20", ROWS)
    assert isinstance(sink.journal, MemoryJournal)
    for worker in (old, sink.worker()):
        sink.journal.forget()
        worker.write_batch("run/0-20", ROWS)
    assert sink.ids() == ONCE


def test_a_refused_commit_is_tried_by_the_next(sink: Sink) -> None:
    sink.server.faults.add(Rule(refusal_fault(400, "MetaTransactionFailed"), COMMIT, times=1))
    with pytest.raises(Unavailable, match="MetaTransactionFailed"):
        sink.worker().write_batch("run/0-20", ROWS)
    sink.worker().write_batch("run/0-20", ROWS)
    assert sink.ids() == ONCE


def test_a_block_damaged_on_its_way_is_refused_and_sent_again_by_the_next(sink: Sink) -> None:
    sink.server.faults.add(Rule(WireFault("flip_upload"), BLOCK, times=1))
    with pytest.raises(Unavailable):
        sink.worker().write_batch("run/0-20", ROWS)
    sink.worker().write_batch("run/0-20", ROWS)
    assert sink.ids() == ONCE
    assert list(sink.worker().results("run")) == ROWS


def test_a_redelivery_to_the_same_worker_sends_no_request(sink: Sink) -> None:
    worker = sink.worker()
    worker.write_batch("run/0-20", ROWS)
    requests = len(sink.server.requests)
    worker.write_batch("run/0-20", ROWS)
    assert len(sink.server.requests) == requests


@pytest.mark.parametrize("status", ["normal", "closing"])
def test_a_commit_that_the_service_did_not_apply_is_tried_again(sink: Sink, status: str) -> None:
    sink.server.false_commits += [status, status]
    for _ in range(2):
        with pytest.raises(Unavailable, match="did not apply a commit"):
            sink.worker().write_batch("run/0-20", ROWS)
        assert sink.ids() == Counter()
    sink.worker().write_batch("run/0-20", ROWS)
    assert sink.ids() == ONCE


def test_rows_of_other_runs_in_a_large_partition_are_not_sent(sink: Sink, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(snapshot, "DIRECT_ROWS", 1000)
    others = [succeeded(number, f"other{number % 7}") for number in range(2000)]
    for start in range(0, 2000, 500):
        rows = [succeeded(number, "other") for number in range(start, start + 500)]
        sink.worker().write_batch(f"other/{start}", rows)
    sink.server.insert("results", [{"result_info": row.to_record()["result_info"]} for row in others], "ds=1")
    before = len(sink.server.statements.by_name)
    worker = sink.worker()
    worker.write_batch("run/0-20", ROWS)
    assert list(worker.results("run")) == ROWS
    sent = [found.selection for found in list(sink.server.statements.by_name.values())[before:]]
    assert [len(selection.rows) for selection in sent if selection] == [0, 20]


def test_results_end_while_another_run_writes_into_the_partition(sink: Sink, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(snapshot, "DIRECT_ROWS", 0)
    worker, other, numbers = sink.worker(), sink.worker(), iter(range(10**6))
    worker.write_batch("run/0-20", ROWS)

    def write_more() -> None:
        number = next(numbers)
        other.write_batch(f"other/{number}", [succeeded(number, "other")])

    write_more()  # its own look at the table
    sink.server.statements.meanwhile = ("SELECT", write_more)
    assert list(worker.results("run")) == ROWS
    assert next(numbers) == 2  # one snapshot


def test_a_column_added_to_the_table_changes_nothing_and_a_dropped_one_is_waited_for(sink: Sink) -> None:
    worker = sink.worker()
    sink.server.replace_columns("results", dict.fromkeys((*OUTPUT_COLUMNS, "title"), "string"))
    worker.prepare(("title",))
    rows = [succeeded(number, title="t") for number in range(4)]
    worker.write_batch("run/0-1", rows[:1])
    sink.server.replace_columns("results", dict.fromkeys(("added", *OUTPUT_COLUMNS, "title"), "string"))
    assert worker.write_batch("run/1-2", rows[1:2]) == {}
    sink.server.replace_columns("results", dict.fromkeys(OUTPUT_COLUMNS, "string"))
    for _ in range(2):
        with pytest.raises(UsageError, match="column title was dropped from the table"):
            worker.write_batch("run/2-3", rows[2:3])
        assert [row.ordinal for row in worker.results("run")] == [0, 1]
    sink.server.replace_columns("results", dict.fromkeys((*OUTPUT_COLUMNS, "title"), "string"))
    assert worker.write_batch("run/2-3", rows[2:3]) == {}
    assert [row.ordinal for row in worker.results("run")] == [0, 1, 2]


def test_a_retrys_row_is_the_newest_whatever_the_workers_clocks_say(
    sink: Sink, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker = sink.worker()
    with monkeypatch.context() as patch:
        patch.setattr(Stamp, "now", lambda batch: Stamp(0, "2999-01-01T00:00:00.000000Z", batch))  # a clock far ahead
        worker.write_batch("run/0-3", [failed(number) for number in range(3)])
    worker.write_batch("run/retry-1", [succeeded(1).with_generation(1_700_000_000_000)])
    worker.write_batch("run/retry-2", [succeeded(2).with_generation(1_700_000_000_001)])
    worker.write_batch("run/retry-late", [failed(2).with_generation(1_700_000_000_000)])  # frozen since before retry-2
    for reader in (worker, sink.worker()):
        assert reader.outcomes("run", 0, 9) == {0: "corrupt_video", 1: "ok", 2: "ok"}
        assert [row.is_ok for row in reader.results("run")] == [False, True, True]


def test_many_shards_need_one_snapshot_of_the_table(sink: Sink) -> None:
    worker = sink.worker()
    for start in range(0, 100, 5):
        worker.write_batch(f"run/{start}", [succeeded(start + number) for number in range(5)])
    assert sum(entry.method == "POST" and "?downloads" in entry.target for entry in sink.server.requests) == 1
    assert sink.commits() == 20


# ── killed workers, with the journal that a fleet shares ─────────────────────────────────────────────────────────────

WORKER = """
import sys
import redis
from storage.aliyun.credentials import Credentials, StaticProvider
from storage.ledger import RedisJournal
from storage.tables.odps.connection import OdpsConnection
from storage.tables.open import open_output
from tests.unit.storage.tables.table_rows import failed, succeeded

url, endpoint, access_id, secret, port = sys.argv[1:]
journal = RedisJournal(redis.Redis(port=int(port)))
connection = OdpsConnection(endpoint, StaticProvider(Credentials(access_id, secret)), endpoint, journal=journal)
open_output(url, connection).write_batch("run/0-20", [succeeded(number) for number in range(20)])
"""


def await_true(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.mark.parametrize("fault", [WireFault("hang", seconds=60), WireFault("lose_reply")])
@pytest.mark.parametrize("step", [BLOCK, COMMIT])
def test_a_worker_killed_on_the_way_leaves_a_batch_that_the_next_completes(
    service: Service, client: redis.Redis, step: str, fault: WireFault
) -> None:
    client.flushall()
    sink = Sink(service, RedisJournal(client))
    sink.server.faults.add(Rule(fault, step))
    worker = sink.worker()
    arguments = [worker.url, service.endpoint, service.keys.access_key_id, service.keys.access_key_secret]
    port = str(client.connection_pool.connection_kwargs["port"])
    with subprocess.Popen([sys.executable, "-c", WORKER, *arguments, port], cwd=ROOT) as child:
        await_true(lambda: sink.server.faults.injected() > 0)
        child.send_signal(signal.SIGKILL)
    sink.server.faults.clear()
    assert child.returncode == -signal.SIGKILL
    worker.write_batch("run/0-20", ROWS)
    assert sink.ids() == ONCE
