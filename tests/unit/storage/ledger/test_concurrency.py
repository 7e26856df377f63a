"""Concurrent use by threads and processes, a killed process, and a server that is wiped meanwhile."""

from __future__ import annotations

import json
import random
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import redis

from storage.ledger import Counts, Ledger, RunSpec, is_retry
from tests.valkey import ValkeyServer, valkey_server

ROOT = Path(__file__).parents[4]
SPEC = RunSpec("in", "out", ("vfx",), "starter", "d1")
RUN = SPEC.run_id
HANDS = 6


@pytest.fixture
def server() -> Iterator[ValkeyServer]:
    with valkey_server() as server:
        yield server


@pytest.fixture
def client(server: ValkeyServer) -> Iterator[redis.Redis]:
    with server.client() as client:
        yield client


@pytest.fixture
def ledger(client: redis.Redis) -> Ledger:
    return Ledger(client)


def submit(ledger: Ledger, total_rows: int, shard_rows: int) -> None:
    ledger.submit(SPEC, total_rows=total_rows, shard_rows=shard_rows, extra_columns=())


def is_complete(ledger: Ledger) -> bool:
    run = ledger.run(RUN)
    return run is not None and run.is_complete


def outcome_of(ordinal: int) -> str:
    return "corrupt_video" if ordinal % 7 == 0 else "ok"


def assert_consistent(counts: Counts) -> None:
    assert counts.rows == counts.ok + counts.failed + counts.in_flight
    assert counts.failed == sum(counts.failures.values())
    assert counts.in_flight >= 0
    assert counts.ok + counts.failed <= counts.fed


def test_concurrent_claims_never_share_a_row_nor_exceed_the_limit(ledger: Ledger) -> None:
    submit(ledger, 1000, 10)

    def claim_all(_: int) -> list[int]:
        ordinals: list[int] = []
        while shard := ledger.claim_shard(RUN, max_open=70):
            ordinals += shard.ordinals
        return ordinals

    with ThreadPoolExecutor(HANDS) as pool:
        claimed = [ordinal for ordinals in pool.map(claim_all, range(HANDS)) for ordinal in ordinals]
    assert sorted(claimed) == list(range(700))


def test_concurrent_recorders_count_each_row_once_and_the_counts_always_add_up(ledger: Ledger) -> None:
    submit(ledger, 300, 100)
    shards = [ledger.claim_shard(RUN, max_open=3) for _ in range(3)]
    rows = [(shard.shard_id, ordinal) for shard in shards if shard for ordinal in shard.ordinals]
    is_done = threading.Event()

    def watch() -> int:
        seen = 0
        while not is_done.is_set():
            counts = ledger.counts(RUN)
            assert counts is not None
            assert_consistent(counts)
            assert counts.ok + counts.failed >= seen
            seen = counts.ok + counts.failed
        return seen

    def record_all(seed: int) -> list[tuple[int, int]]:
        """Record every row in the seed's order, payload and outcome; return ``(row, seed)`` of first results."""
        outcome = "ok" if seed % 2 else f"fault_{seed}"
        order = random.Random(seed).sample(rows, len(rows))
        recorded = ((row, ledger.record(RUN, shard, row, b"%d" % seed, outcome)) for shard, row in order)
        return [(row, seed) for row, answer in recorded if answer.is_first]

    with ThreadPoolExecutor(HANDS + 1) as pool:
        watcher = pool.submit(watch)
        firsts = [first for found in pool.map(record_all, range(HANDS)) for first in found]
        is_done.set()
        watcher.result()
    winners = dict(firsts)
    assert len(firsts) == len(winners) == 300
    stored = [ledger.results(RUN, shard.shard_id) or {} for shard in shards if shard]
    assert {row: int(payload) for payloads in stored for row, payload in payloads.items()} == winners
    by_outcome = Counter("ok" if seed % 2 else f"fault_{seed}" for seed in winners.values())
    assert ledger.counts(RUN) == Counts(300, by_outcome.pop("ok", 0), by_outcome.total(), dict(by_outcome), 300, 3)


def test_of_concurrent_closers_exactly_one_closes_the_shard(ledger: Ledger) -> None:
    submit(ledger, 50, 1)
    for _ in range(50):
        shard = ledger.claim_shard(RUN, max_open=1)
        assert shard is not None
        ledger.record(RUN, shard.shard_id, shard.ordinals[0], b"x", "ok")
        with ThreadPoolExecutor(HANDS) as pool:
            closed = list(pool.map(lambda _, shard_id=shard.shard_id: ledger.close_shard(RUN, shard_id), range(HANDS)))
        assert sum(closed) == 1


def test_of_concurrent_equal_retries_each_row_is_taken_once(ledger: Ledger) -> None:
    submit(ledger, 60, 20)
    for _ in range(3):
        shard = ledger.claim_shard(RUN, max_open=1)
        assert shard is not None
        ledger.settle(RUN, shard.shard_id, dict.fromkeys(shard.ordinals, "bad_row"))
    with ThreadPoolExecutor(HANDS) as pool:
        failures = dict.fromkeys(range(60), "bad_row")
        same = [pool.submit(ledger.open_retry, RUN, "same", failures) for _ in range(HANDS)]
        other = [pool.submit(ledger.open_retry, RUN, f"other{i}", failures) for i in range(HANDS)]
        assert sum(answer.result() for answer in same + other) == 60
    counts = ledger.counts(RUN)
    assert counts == Counts(60, 0, 0, {}, 60, 0)
    taken = [ordinal for _ in range(3) for ordinal in getattr(ledger.claim_shard(RUN, max_open=9), "ordinals", ())]
    assert sorted(taken) == list(range(60))


WORKER = """
import json, random, sys
import redis
from storage.ledger import Ledger

port, run_id, seed = int(sys.argv[1]), sys.argv[2], int(sys.argv[3])
ledger = Ledger(redis.Redis(port=port))
dice = random.Random(seed)
claimed, firsts, closed = [], [], []

def work(shard_id, ordinals):
    rows = list(ordinals) * 2  # everything is delivered twice
    dice.shuffle(rows)
    for ordinal in rows:
        outcome = "corrupt_video" if ordinal % 7 == 0 else "ok"
        recorded = ledger.record(run_id, shard_id, ordinal, str(ordinal).encode(), outcome)
        if recorded.is_first:
            firsts.append(ordinal)
        if recorded.is_full:
            results = ledger.results(run_id, shard_id)
            assert results is None or all(int(payload) == row for row, payload in results.items())
            if ledger.close_shard(run_id, shard_id):
                closed.append(shard_id)
    if not claimed[1:]:
        print("working", flush=True)

while not ledger.run(run_id).is_complete:
    shard = ledger.claim_shard(run_id, max_open=8)
    if shard:
        claimed.append(shard.shard_id)
        work(shard.shard_id, shard.ordinals)
    else:
        for stuck in ledger.open_shards(run_id):  # as the sweep does: the worker that held it may be dead
            work(stuck.shard_id, ledger.missing(run_id, stuck.shard_id))
            if stuck.is_full and ledger.close_shard(run_id, stuck.shard_id):
                closed.append(stuck.shard_id)
print(json.dumps({"claimed": claimed, "firsts": firsts, "closed": closed}), flush=True)
"""


def test_processes_share_a_run_and_a_killed_one_loses_and_doubles_nothing(server: ValkeyServer, ledger: Ledger) -> None:
    rows = 3000
    submit(ledger, rows, 20)
    command = [sys.executable, "-c", WORKER, str(server.port), RUN]
    workers = [
        subprocess.Popen([*command, str(seed)], cwd=ROOT, stdout=subprocess.PIPE, text=True) for seed in range(3)
    ]
    try:
        victim, *survivors = workers
        assert victim.stdout is not None
        assert victim.stdout.readline() == "working\n"
        victim.kill()
        while any(worker.poll() is None for worker in survivors):
            counts = ledger.counts(RUN)
            assert counts is not None
            assert_consistent(counts)
        reports = [json.loads(worker.communicate()[0].splitlines()[-1]) for worker in survivors]
        victim.communicate()
    finally:
        for worker in workers:
            worker.kill()
            worker.wait()
    for what in ("claimed", "firsts", "closed"):
        named = [name for report in reports for name in report[what]]
        assert len(named) == len(set(named)), what
    failed = sum(outcome_of(ordinal) != "ok" for ordinal in range(rows))
    assert ledger.counts(RUN) == Counts(rows, rows - failed, failed, {"corrupt_video": failed}, rows, 0)


@dataclass
class BatchTable:
    """An output table: batches are written whole, once per id."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    rows: dict[int, str] = field(default_factory=dict)
    batches: set[str] = field(default_factory=set)
    writes: Counter[int] = field(default_factory=Counter)

    def write_batch(self, batch_id: str, rows: Mapping[int, bytes]) -> None:
        with self.lock:
            if batch_id not in self.batches:
                self.batches.add(batch_id)
                self.rows |= {ordinal: payload.decode() for ordinal, payload in rows.items()}
                self.writes.update(rows.keys())

    def outcomes(self, ordinals: tuple[int, ...]) -> dict[int, str]:
        with self.lock:
            return {ordinal: self.rows[ordinal] for ordinal in ordinals if ordinal in self.rows}


@dataclass
class Hand:
    """A worker that feeds, records, writes and sweeps, as the fleet's tasks do."""

    ledger: Ledger
    table: BatchTable
    dice: random.Random

    def work_until(self, is_over: threading.Event) -> None:
        while not is_over.is_set():
            shard = self.ledger.claim_shard(RUN, max_open=6)
            if shard and self.dice.random() < 0.8:  # else it dies between claiming and feeding
                self.feed(shard.shard_id, shard.ordinals)
            for stuck in self.ledger.open_shards(RUN):
                if self.dice.random() < 0.3:
                    self.feed(stuck.shard_id, self.ledger.missing(RUN, stuck.shard_id))
                    self.write(stuck.shard_id)

    def feed(self, shard_id: str, ordinals: tuple[int, ...]) -> None:
        if not is_retry(shard_id):
            ordinals = self.ledger.settle(RUN, shard_id, self.table.outcomes(ordinals)).missing
        for ordinal in self.dice.sample(ordinals, len(ordinals)):
            if self.dice.random() < 0.05:  # it dies at this row
                continue
            outcome = outcome_of(ordinal)
            if self.ledger.record(RUN, shard_id, ordinal, outcome.encode(), outcome).is_full:
                self.write(shard_id)

    def write(self, shard_id: str) -> None:
        results = self.ledger.results(RUN, shard_id)
        if results is not None:
            self.table.write_batch(shard_id, results)
            if self.dice.random() < 0.8:  # else it dies between writing and closing
                self.ledger.close_shard(RUN, shard_id)


def wipe_while_working(ledger: Ledger, client: redis.Redis, sizes: list[tuple[int, int]]) -> BatchTable:
    """Wipe the server before each ``(rows, shard_rows)``; return the table when the last run is complete."""
    table, is_over = BatchTable(), threading.Event()
    with ThreadPoolExecutor(HANDS) as pool:
        hands = [pool.submit(Hand(ledger, table, random.Random(seed)).work_until, is_over) for seed in range(HANDS)]
        try:
            for wipes, (total_rows, shard_rows) in enumerate(sizes, start=1):
                client.flushall()
                submit(ledger, total_rows, shard_rows)
                while len(table.rows) < total_rows * wipes // len(sizes) and not any(hand.done() for hand in hands):
                    is_over.wait(0.002)
            while not is_complete(ledger) and not any(hand.done() for hand in hands):
                is_over.wait(0.01)
        finally:
            is_over.set()
        for hand in hands:
            hand.result()
    return table


def assert_all_stand(ledger: Ledger, table: BatchTable, rows: int) -> None:
    assert table.rows == {ordinal: outcome_of(ordinal) for ordinal in range(rows)}
    failed = sum(outcome != "ok" for outcome in table.rows.values())
    assert ledger.counts(RUN) == Counts(rows, rows - failed, failed, {"corrupt_video": failed}, rows, 0)


def test_wiping_the_server_again_and_again_loses_nothing_and_writes_nothing_twice(
    ledger: Ledger, client: redis.Redis
) -> None:
    table = wipe_while_working(ledger, client, [(320, 16)] * 4 + [(480, 16)] * 4)
    assert_all_stand(ledger, table, 480)
    assert set(table.writes.values()) == {1}


def test_a_wipe_may_come_with_another_shard_size_and_a_grown_table(ledger: Ledger, client: redis.Redis) -> None:
    table = wipe_while_working(ledger, client, [(300, 16), (303, 7), (303, 16), (480, 30), (480, 7), (480, 16)])
    assert_all_stand(ledger, table, 480)
