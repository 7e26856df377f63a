from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
import redis

from storage.errors import Unavailable
from storage.ledger import Deferred
from storage.ledger import deferred as module
from tests.valkey import ValkeyServer, free_port, valkey_server


@pytest.fixture(scope="module")
def server() -> Iterator[ValkeyServer]:
    with valkey_server() as running:
        yield running


@pytest.fixture
def deferred(server: ValkeyServer) -> Deferred:
    client = server.client()
    client.flushall()
    return Deferred(client)


def test_a_message_is_not_due_before_its_time(deferred: Deferred) -> None:
    deferred.add("soon", 0.2)
    deferred.add("later", 3600)
    assert deferred.take_due(10) == []
    time.sleep(0.25)
    assert deferred.take_due(10) == ["soon"]
    assert len(deferred) == 2


def test_a_message_taken_but_never_told_of_comes_again(deferred: Deferred, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "UNTOLD_SECONDS", 0.2)
    deferred.add("m", 0)
    assert deferred.take_due(10) == ["m"]
    assert deferred.take_due(10) == []
    time.sleep(0.25)
    assert deferred.take_due(10) == ["m"]


def test_a_message_told_of_never_comes_again(deferred: Deferred) -> None:
    for name in ("a", "b", "c"):
        deferred.add(name, 0)
    assert sorted(deferred.take_due(10)) == ["a", "b", "c"]
    deferred.forget(["a", "b"])
    assert len(deferred) == 1


def test_a_message_that_comes_back_before_its_sender_has_told_is_kept(deferred: Deferred) -> None:
    deferred.add("m", 0)
    assert deferred.take_due(10) == ["m"]
    deferred.add("m", 0.1)  # sent, carried out and failed again, faster than the sender went on
    deferred.forget(["m"])
    time.sleep(0.15)
    assert deferred.take_due(10) == ["m"]
    deferred.forget(["m"])
    assert len(deferred) == 0


def test_equal_messages_are_one(deferred: Deferred) -> None:
    deferred.add("m", 0)
    deferred.add("m", 0)
    assert deferred.take_due(10) == ["m"]


def test_no_more_are_taken_than_asked_for_and_the_oldest_first(deferred: Deferred) -> None:
    for number in range(5):
        deferred.add(f"m{number}", number / 1000)
    time.sleep(0.05)
    assert deferred.take_due(2) == ["m0", "m1"]


def test_a_server_that_is_away_is_unavailable() -> None:
    away = Deferred(redis.Redis(port=free_port()))
    with pytest.raises(Unavailable):
        away.add("m", 1)
