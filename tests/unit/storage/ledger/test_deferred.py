from __future__ import annotations

import pytest
import redis

from storage.errors import Unavailable
from storage.ledger import Deferred
from storage.ledger.deferred import REDELIVER_AFTER_SECONDS
from tests.valkey import free_port


@pytest.fixture
def deferred(client: redis.Redis) -> Deferred:
    return Deferred(client)


def advance(client: redis.Redis, seconds: float) -> None:
    """Make every message due ``seconds`` earlier: the due times are the server's, which cannot be set."""
    for message in client.zrange("tamis:deferred", 0, -1):
        client.zincrby("tamis:deferred", -seconds * 1000, message)


def test_a_message_is_not_due_before_its_time(deferred: Deferred, client: redis.Redis) -> None:
    deferred.add("soon", 1800)
    deferred.add("later", 7200)
    assert deferred.take_due(10) == []
    advance(client, 3600)
    assert deferred.take_due(10) == ["soon"]
    assert len(deferred) == 2


def test_a_message_that_is_taken_but_not_forgotten_is_due_again(deferred: Deferred, client: redis.Redis) -> None:
    deferred.add("m", 0)
    assert deferred.take_due(10) == ["m"]
    assert deferred.take_due(10) == []
    advance(client, REDELIVER_AFTER_SECONDS)
    assert deferred.take_due(10) == ["m"]


def test_a_forgotten_message_is_not_due_again(deferred: Deferred) -> None:
    for name in ("a", "b", "c"):
        deferred.add(name, 0)
    assert sorted(deferred.take_due(10)) == ["a", "b", "c"]
    deferred.forget(["a", "b"])
    assert len(deferred) == 1


def test_a_message_added_again_before_its_sender_forgets_it_is_kept(deferred: Deferred, client: redis.Redis) -> None:
    deferred.add("m", 0)
    assert deferred.take_due(10) == ["m"]
    deferred.add("m", 60)  # it was sent, processed and failed again before its sender went on
    deferred.forget(["m"])
    advance(client, 60)
    assert deferred.take_due(10) == ["m"]
    deferred.forget(["m"])
    assert len(deferred) == 0


def test_waiting_writes_are_sent_like_other_messages_but_not_counted_as_steps(
    deferred: Deferred, client: redis.Redis
) -> None:
    deferred.add("step", 60)
    for _ in range(3):
        deferred.add("write", 60, is_write=True)
    assert (len(deferred), deferred.count_steps()) == (2, 1)
    for key in ("tamis:deferred", "tamis:deferred:writes"):
        client.zincrby(key, -3_600_000, *client.zrange(key, 0, -1))
    assert deferred.take_due(1) == ["step"]
    assert deferred.take_due(10) == ["write"]
    deferred.forget(["step", "write"])
    assert len(deferred) == 0


def test_equal_messages_are_kept_once(deferred: Deferred) -> None:
    deferred.add("m", 0)
    deferred.add("m", 0)
    assert deferred.take_due(10) == ["m"]


def test_at_most_the_wanted_number_is_taken_in_the_order_of_due_times(deferred: Deferred, client: redis.Redis) -> None:
    for number in range(5):
        deferred.add(f"m{number}", number)
    advance(client, 60)
    assert deferred.take_due(2) == ["m0", "m1"]


def test_a_server_that_does_not_answer_raises_unavailable() -> None:
    away = Deferred(redis.Redis(port=free_port()))
    with pytest.raises(Unavailable):
        away.add("m", 1)
