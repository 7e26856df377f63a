"""A fifth of all requests fail, with one fault or with all: rows arrive complete, once, and byte-identical."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from functools import partial
from typing import TypeVar

import pytest

from storage.errors import Unavailable
from storage.records import Record, ResultRow
from storage.tables.batch_journal import MemoryJournal
from storage.tables.odps.connection import NewTables
from storage.tables.open import open_input, open_output
from tests.servers.faults import Faults, Rule, WireFault
from tests.servers.odps.refusals import refusal_fault
from tests.unit.storage.tables.odps.odps_service import QUICK, Service, odps_server
from tests.unit.storage.tables.table_rows import record_of, succeeded

ROWS, SHARD_ROWS = 2000, 100
RECORDS = [record_of(number, info=f'{{"k":"é{number}\\t映"}}', title=f"№ {number}") for number in range(ROWS)]
RESULTS = [succeeded(number, title=f"№ {number} 映像") for number in range(ROWS)]
SHARE = 0.2
DELIVERIES = 200  # of one task, before the test fails

DATA = "rowrange=|blockid=|bucketid="  # requests whose bodies have checksums; TLS protects the others
T = TypeVar("T")


KINDS = {
    "500": refusal_fault(500, "InternalServerError"),
    "503": refusal_fault(503, "ServiceUnavailable"),
    "429": refusal_fault(429, "FlowExceeded", retry_after_seconds=0),
    "slow": WireFault("slow", seconds=0.01),
    "hang": WireFault("hang", seconds=60),
    "reset": WireFault("reset"),
    "truncate": WireFault("truncate"),
    "lose_reply": WireFault("lose_reply"),
    "flip": WireFault("flip"),
    "flip_upload": WireFault("flip_upload"),
}
DAMAGE = {"flip", "flip_upload"}
MOST_HANGS = 4  # each costs the read timeout
IMPATIENT = replace(QUICK, read_timeout_seconds=0.5)


def together() -> Iterator[Rule]:
    """Yield every fault that ends quickly, together at a fifth of all requests, and damaged bytes."""
    kinds = [kind for kind in KINDS if kind not in DAMAGE | {"slow", "hang"}]
    yield from (Rule(KINDS[kind], probability=SHARE / len(kinds)) for kind in kinds)
    yield from (Rule(KINDS[kind], DATA, probability=0.05) for kind in sorted(DAMAGE))


def alone(kind: str) -> Iterator[Rule]:
    """Yield one kind of fault, at a fifth of the requests that it applies to."""
    pattern, times = DATA if kind in DAMAGE else "", MOST_HANGS if kind == "hang" else None
    yield Rule(KINDS[kind], pattern, probability=SHARE, times=times)


def rules(kind: str) -> Iterator[Rule]:
    return together() if kind == "together" else alone(kind)


@pytest.fixture
def service(kind: str) -> Iterator[Service]:
    with odps_server(faults=Faults(seed=7)) as running:
        yield replace(running, limits=IMPATIENT if kind == "hang" else QUICK)


def delivered(task: Callable[[], T]) -> T:
    """Deliver a task as a fleet does: again after ``Unavailable``."""
    for _ in range(DELIVERIES):
        try:
            return task()
        except Unavailable:
            continue
    raise AssertionError("never done")


def begin(service: Service, kind: str) -> None:
    assert service.server is not None
    for rule in rules(kind):
        service.server.faults.add(rule)


@pytest.mark.parametrize("kind", [*KINDS, "together"])
def test_rows_are_read_as_they_are(service: Service, kind: str) -> None:
    assert service.server is not None
    service.server.create_table("videos", dict.fromkeys(RECORDS[0], "string"), partitions={"ds": "string"})
    service.server.insert("videos", RECORDS, "ds=1")
    begin(service, kind)
    read: list[Record] = []
    with closing(delivered(lambda: open_input(f"odps://{service.project}/videos/ds=1", service.connection()))) as table:
        for start in range(0, ROWS, SHARD_ROWS):
            if start % 500 == 0:
                service.server.expire_sessions()
            read += delivered(partial(table.read_rows, start, SHARD_ROWS))
    assert read == RECORDS
    assert service.server.faults.injected() > 0 or kind == "flip_upload"  # reading uploads nothing


@pytest.mark.parametrize(
    ("new_tables", "kind"),
    [*(("append", kind) for kind in [*KINDS, "together"]), *(("delta", kind) for kind in ("lose_reply", "together"))],
)
def test_results_are_written_once_and_as_they_are(service: Service, new_tables: NewTables, kind: str) -> None:
    assert service.server is not None
    connection = service.connection(new_tables, journal=MemoryJournal())
    url = f"odps://{service.project}/results/ds=1"
    begin(service, kind)
    shards = [RESULTS[start : start + SHARD_ROWS] for start in range(0, ROWS, SHARD_ROWS)]
    workers = [open_output(url, connection) for _ in range(2)]
    delivered(lambda: workers[0].prepare(("title",)))

    def write(number: int, shard: list[ResultRow]) -> None:
        for worker in workers:  # every batch reaches both
            delivered(partial(worker.write_batch, f"run/{number}", shard))

    with ThreadPoolExecutor(4) as threads:
        for written in [threads.submit(write, number, shard) for number, shard in enumerate(shards)]:
            written.result()
    read = delivered(lambda: list(workers[0].results("run")))
    assert read == RESULTS
    assert delivered(lambda: open_output(url, connection).count_results("run")) == ROWS
    assert service.server.faults.injected() >= 3
    rows = Counter(row["video_id"] for row in service.server.rows("results", "ds=1"))
    assert rows == Counter(row.video_id for row in RESULTS)  # in the table itself, not only as results() shows it
