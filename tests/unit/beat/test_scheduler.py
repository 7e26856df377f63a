"""A beat that loses its lock or its Redis goes into standby and does not exit."""

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
        one.lock = None  # the server may have ended, so the lock cannot be released


def test_one_beat_ticks_and_the_other_waits_until_the_lock_is_released(make: Any) -> None:
    first, second = make(), make()
    first.tick()
    ticked = threading.Event()
    thread = threading.Thread(target=lambda: (second.tick(), ticked.set(), second.close()))
    thread.start()
    assert not ticked.wait(0.5)
    first.close()
    assert ticked.wait(30)
    thread.join()


def test_after_a_lost_lock_the_beat_waits_for_it_and_writes_the_schedule_again(make: Any, server: ValkeyServer) -> None:
    scheduler = make()
    scheduler.tick()
    with server.client() as client:
        client.flushall()
        assert scheduler.tick() == 0.0  # due at once, without the lock
        assert scheduler.lock is None
        scheduler.tick()
        assert client.exists("tamis:beat:rare", "tamis:beat::lock") == 2
    scheduler.close()


def test_without_redis_the_beat_asks_again_and_redis_may_return_empty(make: Any, server: ValkeyServer) -> None:
    scheduler = make()
    scheduler.tick()
    server.kill()
    assert scheduler.tick() == pytest.approx(0.1)
    server.start()
    scheduler.tick()  # finds that it lost its lock
    scheduler.tick()
    with server.client() as client:
        assert client.exists("tamis:beat:rare", "tamis:beat::lock") == 2
    scheduler.close()


def test_a_beat_that_starts_before_its_redis_does_not_exit(make: Any, server: ValkeyServer) -> None:
    server.kill()
    scheduler = make()
    assert scheduler.tick() == pytest.approx(0.1)
    server.start()
    scheduler.tick()
    with server.client() as client:
        assert client.exists("tamis:beat:rare", "tamis:beat::lock") == 2
    scheduler.close()
