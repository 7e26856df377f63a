"""Rescue of a dead node's queue over a real broker: which messages are sent again, and their fields."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from typing import Any

import pytest
import redis
from celery import Celery
from kombu.exceptions import OperationalError

from storage.ledger import Deferred, Ledger
from tasks.broker.queue_depth import gpu_queues, is_quiet, waiting_messages
from tasks.broker.redis import redis_transport_options
from tasks.delivery.rescue import send_to_shared_queue, unserved_queues
from tasks.messages import Downloaded, RowMessage, dump_downloaded
from tasks.queues import TaskName, gpu_queue, route
from tests.valkey import ValkeyServer

KEYPREFIX = "rescue:"
SILENCE_SECONDS = 30.0
DEAD = gpu_queue("dead")


def new_app(url: str, **conf: object) -> Celery:
    app = Celery("rescue-test", broker=url, set_as_current=False)
    app.conf.update(
        task_routes=(route,),
        task_ignore_result=True,
        broker_transport_options=redis_transport_options(5.0, KEYPREFIX),
        **conf,
    )
    return app


@pytest.fixture
def app(server: ValkeyServer, client: redis.Redis) -> Iterator[Celery]:
    app = new_app(server.url)
    yield app
    app.close()


@pytest.fixture
def ledger(client: redis.Redis) -> Ledger:
    return Ledger(client)


def message(ordinal: int, node: str = "dead") -> dict[str, Any]:
    row = RowMessage(run_id="r", shard_id="0-4", ordinal=ordinal, record={"video_id": "v"})
    return dump_downloaded(Downloaded(row=row, node=node, spool_key="0" * 32, tier="oss", milliseconds=1.0))


def send(app: Celery, ordinals: range, **options: object) -> list[str]:
    return [app.send_task(TaskName.INFER, (message(ordinal),), **options).id for ordinal in ordinals]


def waiting(app: Celery, queue: str) -> int:
    with app.connection_for_read() as connection:
        return waiting_messages(connection.default_channel, [queue])


def held(client: redis.Redis, queue: str) -> list[dict[str, Any]]:
    """Return the queue's messages of every priority as they are in Redis, the oldest first."""
    keys = sorted(key for key in client.keys(f"{KEYPREFIX}{queue}*") if key.decode().split("\x06")[0].endswith(queue))
    return [json.loads(text) for key in keys for text in reversed(client.lrange(key, 0, -1))]


def body(raw: dict[str, Any]) -> Any:
    return json.loads(base64.b64decode(raw["body"]))


def silence(client: redis.Redis, node: str, seconds: float) -> None:
    """Set the node's last reports back by ``seconds``."""
    for member, score in client.zrange("tamis:nodes", 0, -1, withscores=True):
        if member.decode().endswith(f" {node}"):
            client.zadd("tamis:nodes", {member: score - seconds * 1000})


def test_a_nodes_queue_is_unserved_once_its_gpu_workers_were_silent_for_too_long(
    ledger: Ledger, client: redis.Redis
) -> None:
    ledger.heartbeats.beat_node("dead", ["io", "gpu", DEAD])
    ledger.heartbeats.beat_node("living", ["gpu", gpu_queue("living")])
    assert unserved_queues(ledger, SILENCE_SECONDS) == []
    silence(client, "dead", SILENCE_SECONDS + 1)
    assert unserved_queues(ledger, SILENCE_SECONDS) == [DEAD]
    ledger.heartbeats.beat_node("dead", ["io"])  # its io worker lives, its GPU workers do not
    assert unserved_queues(ledger, SILENCE_SECONDS) == [DEAD]
    ledger.heartbeats.beat_node("dead", ["gpu", DEAD])
    assert unserved_queues(ledger, SILENCE_SECONDS) == []


def test_no_queue_is_unserved_while_no_other_node_has_gpu_workers(ledger: Ledger, client: redis.Redis) -> None:
    """A single node that restarts keeps its queue, so its downloads pause while the queue is full."""
    ledger.heartbeats.beat_node("dead", ["io", "gpu", DEAD])
    silence(client, "dead", SILENCE_SECONDS + 1)
    ledger.heartbeats.beat_node("other", ["io", "results", "control"])
    assert unserved_queues(ledger, SILENCE_SECONDS) == []


def test_rescued_messages_name_no_node_and_their_new_queue(app: Celery, client: redis.Redis) -> None:
    ids = send(app, range(5))
    assert waiting(app, DEAD) == 5
    assert send_to_shared_queue(DEAD, app) == 5
    assert (waiting(app, DEAD), waiting(app, "gpu")) == (0, 5)
    raws = held(client, "gpu")
    assert [raw["headers"]["id"] for raw in raws] == ids
    assert {raw["properties"]["delivery_info"]["routing_key"] for raw in raws} == {"gpu"}
    assert [body(raw)[0][0] for raw in raws] == [message(ordinal, node="") for ordinal in range(5)]
    assert client.hlen(f"{KEYPREFIX}unacked") == 0


def test_messages_of_every_priority_are_rescued_and_keep_it(app: Celery, client: redis.Redis) -> None:
    for priority in (0, 3, 6, 9):
        send(app, range(priority, priority + 2), priority=priority)
    assert waiting(app, DEAD) == 8
    assert send_to_shared_queue(DEAD, app) == 8
    assert waiting(app, DEAD) == 0
    assert [raw["properties"]["priority"] for raw in held(client, "gpu")] == [0, 0, 3, 3, 6, 6, 9, 9]


def test_messages_that_return_after_their_visibility_timeout_go_with_the_next_rescue(
    app: Celery, client: redis.Redis
) -> None:
    send(app, range(3))
    with app.connection_for_read() as connection:
        channel = connection.channel()
        app.amqp.queues[DEAD].bind(channel).get()  # taken by a worker that then dies
        assert send_to_shared_queue(DEAD, app) == 2
        assert send_to_shared_queue(DEAD, app) == 0
        channel.close()  # the message returns, as after its visibility timeout
    assert send_to_shared_queue(DEAD, app) == 1
    assert sorted(body(raw)[0][0]["row"]["ordinal"] for raw in held(client, "gpu")) == [0, 1, 2]


def test_a_message_that_could_not_be_sent_stays(app: Celery, server: ValkeyServer) -> None:
    """A message is sent before it is acknowledged: a crash in between may duplicate it and loses none."""

    class Refusing(Celery):
        def send_task(self, *args: object, **options: object) -> Any:
            raise OperationalError("the broker takes nothing")

    send(app, range(3))
    refusing = Refusing("refusing", broker=server.url, set_as_current=False)
    refusing.conf.broker_transport_options = redis_transport_options(5.0, KEYPREFIX)
    with pytest.raises(OperationalError):
        send_to_shared_queue(DEAD, refusing)
    assert waiting(app, DEAD) == 3
    refusing.close()


def test_a_queue_that_does_not_exist_is_empty(app: Celery) -> None:
    assert send_to_shared_queue(gpu_queue("unknown"), app) == 0


def test_the_fleet_is_quiet_only_when_no_row_and_no_shard_waits_anywhere(
    app: Celery, ledger: Ledger, client: redis.Redis
) -> None:
    deferred = Deferred(client)
    ledger.heartbeats.beat_node("dead", [DEAD])
    silence(client, "dead", 24 * 3600)
    assert gpu_queues(ledger) == ["gpu", DEAD]
    app.send_task(TaskName.FEED, ("r",))  # wakes the feeder: no row, no shard
    assert is_quiet(ledger, deferred, app)
    for name, args in (
        (TaskName.DOWNLOAD, ({},)),
        (TaskName.INFER, (message(0),)),
        (TaskName.INFER, (message(0, node=""),)),
        (TaskName.WRITE_SHARD, ("r", "0-4")),
    ):
        app.send_task(name, args)
        assert not is_quiet(ledger, deferred, app)
        for key in client.keys(f"{KEYPREFIX}*"):
            client.delete(key)
        assert is_quiet(ledger, deferred, app)
    deferred.add("a write that its table refuses", 60, is_write=True)
    assert is_quiet(ledger, deferred, app)
    deferred.add("a retry", 60)
    assert not is_quiet(ledger, deferred, app)
