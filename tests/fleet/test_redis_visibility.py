"""Redis delivery times: a dead worker's messages are delivered again within seconds, a slow worker's are not."""

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

VISIBILITY_SECONDS = 3.0


def test_a_killed_workers_tasks_run_again_and_none_is_lost(fleet: Fleet) -> None:
    doomed = fleet.start_worker("doomed", concurrency=2)
    for name in ("first", "second"):
        fleet.send("hang_once", name)
    fleet.wait_for_events(count=2, event="start", worker="doomed")
    names = [f"row-{number}" for number in range(6)]
    for name in names:
        fleet.send("nap", name, 0.2)
    fleet.start_worker("heir").wait_until_ready()

    doomed.kill()

    wait_until(lambda: len(fleet.events(event="start", worker="heir")) == 8, "redelivery")
    wait_until(
        lambda: {event["name"] for event in fleet.events(event="end")} == {"first", "second", *names}, "all tasks"
    )
    wait_until(lambda: fleet.unacked() == 0, "all acknowledged")
    assert fleet.waiting() == 0


@pytest.fixture(scope="module")
def long_run(server: ValkeyServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """A long and a hung task, and an idle worker: the tests below wait at the same time."""
    fleet = Fleet(server.url, tmp_path_factory.mktemp("long-run"), VISIBILITY_SECONDS)
    try:
        fleet.start_worker("steady")
        fleet.start_worker("stuck", app="visibility_only", queues="stuck", concurrency=1, deadline_seconds=3.0)
        fleet.send("hold", "long")
        fleet.send("hang_once", "hung", queue="stuck")
        fleet.wait_for_events(count=2, event="start")
        fleet.start_worker("idle", queues="work,stuck")
        yield fleet
    finally:
        fleet.close()


def test_the_message_of_a_task_past_its_hard_deadline_is_delivered_again(long_run: Fleet) -> None:
    long_run.wait_for_events(event="end", name="hung", worker="idle")


def test_a_task_longer_than_the_visibility_timeout_runs_once(long_run: Fleet) -> None:
    long_run.wait_for_renewals()
    long_run.release("long")
    long_run.wait_for_events(event="end", name="long")
    wait_until(lambda: long_run.unacked() == 0, "acknowledged")
    assert long_run.waiting() == 0
    assert [event["worker"] for event in long_run.events(event="start", name="long")] == ["steady"]


def test_only_unacknowledged_messages_are_renewed(server: ValkeyServer) -> None:
    options = redis_transport_options(VISIBILITY_SECONDS, KEYPREFIX)
    with Connection(server.url, transport_options=options) as connection, closing(server.client()) as client:
        channel: Any = connection.default_channel
        index = KEYPREFIX + channel.unacked_index_key
        client.zadd(index, {"held": 1.0})

        renew(channel, ["held", "acknowledged"])

        assert client.zscore(index, "held") == pytest.approx(time.time(), abs=60.0)
        assert client.zscore(index, "acknowledged") is None


def test_kombus_private_delivered_messages_have_the_expected_form(server: ValkeyServer) -> None:
    with Connection(server.url) as connection:
        queue = connection.SimpleQueue("probe")
        queue.put({})
        message = queue.get(timeout=5.0)

        channel: Any = queue.channel
        assert dict(channel.qos._delivered) == {message.delivery_tag: message}

        message.ack()
        queue.close()
