"""Questions to workers over a real broker that has none, is gone, or cuts the connection while they are asked."""

from __future__ import annotations

import threading

import redis
from celery import Celery

from tasks.broker.questions import ask_workers
from tests.valkey import ValkeyServer


def test_without_workers_there_is_no_answer(server: ValkeyServer, client: redis.Redis) -> None:
    assert ask_workers(Celery("asking", broker=server.url, set_as_current=False), "ping", 0.1) == {}


def test_a_connection_that_is_cut_while_workers_are_asked_gives_no_answer(
    server: ValkeyServer, client: redis.Redis
) -> None:
    is_cut = threading.Event()

    def cut() -> None:
        while not is_cut.is_set():
            for known in client.client_list():
                if known["cmd"] == "brpop":  # waits for the answers
                    client.client_kill(known["addr"])
                    is_cut.set()

    cutting = threading.Thread(target=cut)
    cutting.start()
    assert ask_workers(Celery("asking", broker=server.url, set_as_current=False), "ping", 5.0) == {}
    cutting.join(10)
    assert is_cut.is_set()
