"""A beat that loses its lock, or its Redis, stands by and does not die."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest
from celery import Celery

from beat.scheduler import StandbyScheduler
from tests.valkey import ValkeyServer, valkey_server


@pytest.fixture
def server() -> Iterator[ValkeyServer]:
    with valkey_server() as running:
        yield running


@pytest.fixture
def make(server: ValkeyServer) -> Iterator[Any]:
    made: list[StandbyScheduler] = []

    def scheduler() -> StandbyScheduler:
        app = Celery("beat-test", set_as_current=False, broker=server.url)
        app.conf.update(
            redbeat_secret_url=server.url,
            redbeat_redis_options={"socket_timeout": 1, "retry_period": 0},
            redbeat_key_prefix="tamis:beat:",
            redbeat_lock_timeout=30,
            beat_max_loop_interval=0.1,
            beat_schedule={"rare": {"task": "rare", "schedule": 3600.0}},
        )
        made.append(StandbyScheduler(app, max_interval=0.1))
        return made[-1]

    yield scheduler
    for one in made:
        one.lock = None  # no server may be left to give it back to


def test_one_ticks_and_the_other_waits_until_the_lock_is_given_back(make: Any) -> None:
    first, second = make(), make()
    first.tick()
    ticked = threading.Event()
    thread = threading.Thread(target=lambda: (second.tick(), ticked.set(), second.close()))
    thread.start()
    assert not ticked.wait(0.5)
    first.close()
    assert ticked.wait(30)
    thread.join()


def test_a_lost_lock_is_waited_for_again_and_the_schedule_written_anew(make: Any, server: ValkeyServer) -> None:
    scheduler = make()
    scheduler.tick()
    with server.client() as client:
        client.flushall()
        assert scheduler.tick() == 0.0  # at once again, without the lock
        assert scheduler.lock is None
        scheduler.tick()
        assert client.exists("tamis:beat:rare", "tamis:beat::lock") == 2
    scheduler.close()


def test_a_redis_that_is_away_is_asked_again_and_may_come_back_empty(make: Any, server: ValkeyServer) -> None:
    scheduler = make()
    scheduler.tick()
    server.kill()
    assert scheduler.tick() == pytest.approx(0.1)
    server.start()
    scheduler.tick()  # finds its lock gone
    scheduler.tick()
    with server.client() as client:
        assert client.exists("tamis:beat:rare", "tamis:beat::lock") == 2
    scheduler.close()


def test_a_beat_that_starts_before_its_redis_does_not_die(make: Any, server: ValkeyServer) -> None:
    server.kill()
    scheduler = make()
    assert scheduler.tick() == pytest.approx(0.1)
    server.start()
    scheduler.tick()
    with server.client() as client:
        assert client.exists("tamis:beat:rare", "tamis:beat::lock") == 2
    scheduler.close()
