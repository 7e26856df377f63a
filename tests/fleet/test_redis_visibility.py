"""Redelivery in seconds after a death, and never for being slow."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest
from kombu import Connection

from tasks.broker.redis import redis_transport_options
from tasks.worker.redis_visibility import renew
from tests.fleet.processes import KEYPREFIX, Fleet, wait_until
from tests.valkey import ValkeyServer

VISIBILITY_SECONDS = 4.0


def test_a_killed_workers_tasks_run_again_within_ten_seconds_and_nothing_is_lost(fleet: Fleet) -> None:
    doomed = fleet.start_worker("doomed", concurrency=2)
    for name in ("first", "second"):
        fleet.send("hang_once", name)
    fleet.wait_for_events(count=2, event="start", worker="doomed")
    names = [f"row-{number}" for number in range(6)]
    for name in names:
        fleet.send("nap", name, 0.2)
    fleet.start_worker("heir").wait_until_ready()

    doomed.kill()

    seconds = wait_until(lambda: len(fleet.events(event="start", worker="heir")) == 8, "redelivery")
    assert seconds <= 10.0
    wait_until(
        lambda: {event["name"] for event in fleet.events(event="end")} == {"first", "second", *names}, "all tasks"
    )
    wait_until(lambda: fleet.unacked() == 0, "all acknowledged")
    assert fleet.waiting() == 0


@pytest.fixture(scope="module")
def long_run(valkey: ValkeyServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """A long and a hung task under way, with an idle worker beside them: the tests below wait in parallel."""
    fleet = Fleet(valkey.url, tmp_path_factory.mktemp("long-run"), VISIBILITY_SECONDS)
    try:
        fleet.start_worker("steady")
        fleet.start_worker("stuck", app="visibility_only", queues="stuck", concurrency=1, deadline_seconds=3.0)
        fleet.send("nap", "long", 3 * VISIBILITY_SECONDS)
        fleet.send("hang_once", "hung", queue="stuck")
        fleet.wait_for_events(count=2, event="start")
        fleet.start_worker("idle", queues="work,stuck")
        yield fleet
    finally:
        fleet.close()


def test_a_task_past_its_hard_deadline_is_not_leased_for_ever(long_run: Fleet) -> None:
    long_run.wait_for_events(event="end", name="hung", worker="idle")


def test_a_task_of_three_visibility_timeouts_runs_once(long_run: Fleet) -> None:
    long_run.wait_for_events(event="end", name="long")
    wait_until(lambda: long_run.unacked() == 0, "acknowledged")
    assert long_run.waiting() == 0
    assert [event["worker"] for event in long_run.events(event="start", name="long")] == ["steady"]


def test_only_unacknowledged_messages_are_renewed(valkey: ValkeyServer) -> None:
    options = redis_transport_options(VISIBILITY_SECONDS, KEYPREFIX)
    with Connection(valkey.url, transport_options=options) as connection, closing(valkey.client()) as client:
        channel: Any = connection.default_channel
        index = KEYPREFIX + channel.unacked_index_key
        client.zadd(index, {"held": 1.0})

        renew(channel, ["held", "acknowledged"])

        assert client.zscore(index, "held") == pytest.approx(time.time(), abs=60.0)
        assert client.zscore(index, "acknowledged") is None


def test_the_private_book_of_deliveries_that_lease_renewal_reads_is_still_there(valkey: ValkeyServer) -> None:
    with Connection(valkey.url) as connection:
        queue = connection.SimpleQueue("probe")
        queue.put({})
        message = queue.get(timeout=5.0)

        channel: Any = queue.channel
        assert dict(channel.qos._delivered) == {message.delivery_tag: message}

        message.ack()
        queue.close()
