"""Contract of the batch journals: in one process's memory, and in the ledger's server."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
import redis

from storage.ledger import Ledger, RedisJournal
from storage.tables.batch_journal import BatchJournal, MemoryJournal


@pytest.fixture(params=["memory", "redis"])
def journal(request: pytest.FixtureRequest, client: redis.Redis) -> BatchJournal:
    client.flushall()
    return MemoryJournal() if request.param == "memory" else RedisJournal(client)


def test_concurrent_writers_of_a_batch_all_get_the_first_session(journal: BatchJournal) -> None:
    assert journal.recall("run", "batch") is None
    with ThreadPoolExecutor(8) as threads:
        answers = set(threads.map(lambda number: journal.remember("run", "batch", f"session {number}"), range(40)))
    assert answers == {journal.recall("run", "batch")}
    assert journal.recall("run", "other") is None
    assert journal.recall("other", "batch") is None


def test_a_session_is_replaced_only_by_a_caller_that_names_it(journal: BatchJournal) -> None:
    journal.remember("run", "batch", "first")
    assert journal.remember("run", "batch", "second", instead_of="first") == "second"
    assert journal.remember("run", "batch", "third", instead_of="first") == "second"


def test_a_journal_keeps_its_id_until_it_is_lost(journal: BatchJournal) -> None:
    before = journal.memory("run")
    journal.remember("run", "batch", "session")
    assert journal.memory("run") == before != journal.memory("other")


def test_nothing_is_remembered_in_the_name_of_a_journal_that_was_lost(
    journal: BatchJournal, client: redis.Redis
) -> None:
    before = journal.memory("run")
    assert journal.remember("run", "batch", "session", memory=before) == "session"
    if isinstance(journal, MemoryJournal):
        journal.forget()
    client.flushall()
    for _ in range(2):
        assert journal.remember("run", "other", "session", memory=before) is None
        assert journal.recall("run", "other") is None
        journal.memory("run")  # a new one


def test_a_forgotten_run_leaves_no_batches(client: redis.Redis, ledger: Ledger) -> None:
    journal = RedisJournal(client)
    before = journal.memory("run")
    journal.remember("run", "batch", "session")
    ledger.forget("run")
    assert journal.recall("run", "batch") is None
    assert journal.memory("run") != before


def test_an_entry_outlives_an_upload_session_and_then_expires(client: redis.Redis, ledger: Ledger) -> None:
    RedisJournal(client).remember("run", "batch", "session")
    (key,) = client.keys("tamis:run:*:batches")
    assert client.ttl(key) > 24 * 3600
