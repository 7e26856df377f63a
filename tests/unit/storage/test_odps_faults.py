"""A fifth of all requests go wrong, in every way there is: what arrives is complete, unique and byte-identical."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from functools import partial
from typing import TypeVar

import pytest

from storage.errors import Unavailable
from storage.records import Record, ResultRow
from storage.tables.journal import MemoryJournal
from storage.tables.odps_connection import NewTables
from storage.tables.open import open_input, open_output
from tests.servers.faults import Fault, Faults, Kind, Rule
from tests.servers.odps.refusals import refusal_fault
from tests.unit.storage.odps_service import Service, odps_server
from tests.unit.storage.table_rows import record_of, succeeded

ROWS, SHARD_ROWS = 2000, 100
RECORDS = [record_of(number, info=f'{{"k":"é{number}\\t映"}}', title=f"№ {number}") for number in range(ROWS)]
RESULTS = [succeeded(number, title=f"№ {number} 映像") for number in range(ROWS)]
SHARE = 0.2
DELIVERIES = 200  # of one task, until a test gives up

DATA = "rowrange=|blockid=|bucketid="  # where bytes carry checksums; elsewhere TLS guards them
T = TypeVar("T")


def rules() -> Iterator[Rule]:
    """Faults that together strike a fifth of all requests."""
    faults = [
        refusal_fault(500, "InternalServerError"),
        refusal_fault(503, "ServiceUnavailable"),
        refusal_fault(429, "FlowExceeded", retry_after_seconds=0),
        Fault("reset"),
        Fault("truncate"),
        Fault("lose_reply"),
    ]
    yield from (Rule(fault, probability=SHARE / len(faults)) for fault in faults)
    damage: tuple[Kind, ...] = ("flip", "flip_upload")
    yield from (Rule(Fault(kind), DATA, probability=0.05) for kind in damage)


@pytest.fixture
def service() -> Iterator[Service]:
    with odps_server(faults=Faults(seed=7)) as running:
        yield running


def delivered(task: Callable[[], T]) -> T:
    """Deliver a task as a fleet does: again, when it says «later»."""
    for _ in range(DELIVERIES):
        try:
            return task()
        except Unavailable:
            continue
    raise AssertionError("never done")


def begin(service: Service) -> None:
    assert service.server is not None
    for rule in rules():
        service.server.faults.add(rule)


def share_struck(service: Service) -> float:
    assert service.server is not None
    return service.server.faults.struck() / len(service.server.diary)


def test_rows_are_read_as_they_are(service: Service) -> None:
    assert service.server is not None
    service.server.create_table("videos", dict.fromkeys(RECORDS[0], "string"), partitions={"ds": "string"})
    service.server.insert("videos", RECORDS, "ds=1")
    begin(service)
    read: list[Record] = []
    with closing(delivered(lambda: open_input(f"odps://{service.project}/videos/ds=1", service.connection()))) as table:
        for start in range(0, ROWS, SHARD_ROWS):
            if start % 500 == 0:
                service.server.expire_sessions()
            read += delivered(partial(table.read_rows, start, SHARD_ROWS))
    assert read == RECORDS


@pytest.mark.parametrize("new_tables", ["append", "delta"])
def test_results_are_written_once_and_as_they_are(service: Service, new_tables: NewTables) -> None:
    assert service.server is not None
    connection = service.connection(new_tables, journal=MemoryJournal())
    url = f"odps://{service.project}/results/ds=1"
    begin(service)
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
    assert share_struck(service) > SHARE / 2
    rows = Counter(row["video_id"] for row in service.server.rows("results", "ds=1"))
    assert rows == Counter(row.video_id for row in RESULTS)  # in the table itself, not only as it is read
