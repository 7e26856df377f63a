from __future__ import annotations

import socket
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from celery import Celery
from kombu import Connection, Consumer, Queue
from kombu.transport import redis

from tasks.broker.rabbitmq import LONGEST_PAUSE_SECONDS
from tasks.broker.redis import DEAD_PEER_SECONDS, keepalive_options, redis_transport_options
from tasks.resources.redis import ledger_client
from tasks.settings import Settings
from tests.valkey import ValkeyServer

OPTIONS = redis_transport_options(8.0, "tamis:")


@pytest.mark.parametrize("name", ["visibility_timeout", "unacked_mutex_expire", "global_keyprefix"])
def test_kombu_has_options_of_these_names(name: str) -> None:
    assert name in OPTIONS
    assert name in redis.Channel.from_transport_options


def test_the_restore_lock_of_a_killed_worker_expires_before_the_visibility_timeout() -> None:
    assert OPTIONS["unacked_mutex_expire"] < OPTIONS["visibility_timeout"] < redis.Channel.unacked_mutex_expire


def test_a_shared_queue_is_taken_from_while_the_nodes_own_queue_is_never_empty(server: ValkeyServer) -> None:
    own, shared = Queue("gpu.n1"), Queue("gpu")
    taken: list[str] = []
    with Connection(server.url, transport_options=OPTIONS) as connection:
        with connection.Producer() as producer:
            for queue in (own, own, own, own, shared):
                producer.publish({"in": queue.name}, routing_key=queue.name, declare=[queue])

        def take(body: dict[str, str], message: Any) -> None:
            taken.append(body["in"])
            message.ack()

        with Consumer(connection, [own, shared], callbacks=[take], accept=["json"]):
            for _ in range(2):
                connection.drain_events(timeout=5)
    assert "gpu" in taken


def test_connections_to_broker_and_ledger_give_up_a_silent_peer(server: ValkeyServer, tmp_path: Path) -> None:
    with Connection(server.url, transport_options=OPTIONS) as connection, closing(connection.channel()) as channel:
        pooled = channel.client.connection_pool.get_connection()
        _assert_keepalive(pooled._sock)
    with closing(ledger_client(Settings.of(state_dir=tmp_path, broker_url=server.url))) as client:
        client.ping()
        _assert_keepalive(client.connection_pool.get_connection()._sock)


def _assert_keepalive(connected: socket.socket) -> None:
    assert connected.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
    for option, value in keepalive_options().items():
        assert connected.getsockopt(socket.IPPROTO_TCP, option) == value


def test_probes_of_an_idle_connection_end_within_the_limit_for_sent_data() -> None:
    options = keepalive_options()
    probed_seconds = options[socket.TCP_KEEPIDLE] + options[socket.TCP_KEEPINTVL] * options[socket.TCP_KEEPCNT]
    assert probed_seconds <= DEAD_PEER_SECONDS == options[socket.TCP_USER_TIMEOUT] / 1000


def test_a_ledger_behind_a_unix_socket_has_no_keepalive_options(tmp_path: Path) -> None:
    with closing(
        ledger_client(Settings.of(state_dir=tmp_path, broker_url="redis+socket:///nowhere/redis.sock"))
    ) as client:
        assert "socket_keepalive" not in client.connection_pool.connection_kwargs


def test_pauses_between_attempts_to_reach_the_broker_stay_short() -> None:
    app = Celery(broker="redis://127.0.0.1:1/0", amqp="tasks.broker.rabbitmq:QuorumAmqp", set_as_current=False)
    pauses: list[float] = []

    class EnoughPauses(Exception):
        pass

    def on_error(_error: Exception, pause_seconds: float) -> None:
        pauses.append(pause_seconds)
        if len(pauses) == 2:
            raise EnoughPauses

    with app.connection_for_read() as connection, pytest.raises(EnoughPauses):
        connection.ensure_connection(on_error, None, interval_start=0.1, interval_step=20)
    assert max(pauses) <= LONGEST_PAUSE_SECONDS
