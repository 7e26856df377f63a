from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from celery import Celery
from celery.worker.heartbeat import Heart
from kombu import Connection
from kombu.asynchronous.timer import Timer

from tasks.worker.celery_fixes import BatchedEvents, NonBlockingHeartbeat, keep_redis_clients
from tests.valkey import ValkeyServer


class Events:
    """The part of Celery's dispatcher that a Heart uses; keeps events and their ``retry``."""

    def __init__(self) -> None:
        self.enabled = True
        self.on_enabled: set[Any] = set()
        self.on_disabled: set[Any] = set()
        self.sent: list[tuple[str, bool]] = []

    def send(self, event: str, *, retry: bool, **_fields: object) -> None:
        self.sent.append((event, retry))


def test_heartbeats_are_sent_without_retries() -> None:
    events, timer = Events(), Timer()
    heart = Heart(timer, events)
    heart.start()
    NonBlockingHeartbeat.start(None, SimpleNamespace(heart=heart))  # type: ignore[arg-type]  # it has no state
    (beating,) = [entry.entry for entry in timer.queue if not entry.entry.canceled]
    beating()
    heart.stop()
    assert events.sent == [("worker-online", True), ("worker-heartbeat", False), ("worker-offline", False)]


def test_a_worker_without_heartbeats_has_nothing_to_change() -> None:
    NonBlockingHeartbeat.start(None, SimpleNamespace(heart=None))  # type: ignore[arg-type]  # it has no state


def test_events_are_published_by_the_timer_and_after_the_stop_as_celery_does() -> None:
    flushes: list[str] = []
    dispatcher = SimpleNamespace(on_send_buffered=None, flush=lambda: flushes.append("timer"))
    consumer = SimpleNamespace(
        app=Celery(),
        hub=object(),
        timer=Timer(),
        event_dispatcher=dispatcher,
        on_send_event_buffered=lambda: flushes.append("celery"),
    )
    dispatcher.on_send_buffered = consumer.on_send_event_buffered
    step = BatchedEvents(consumer)
    step.start(consumer)
    assert dispatcher.on_send_buffered is None
    (entry,) = consumer.timer.queue
    entry.entry()
    step.stop(consumer)
    dispatcher.on_send_buffered()
    assert flushes == ["timer", "celery", "celery"]  # the second publishes what waits at the stop
    assert entry.entry.canceled


def test_an_event_about_a_sent_message_waits_with_the_others_until_the_stop(server: ValkeyServer) -> None:
    app = Celery(broker=server.url)
    app.conf.task_send_sent_event = True
    waiting: list[tuple[str, str]] = []
    dispatcher = SimpleNamespace(
        on_send_buffered=None, flush=None, send=lambda kind, **fields: waiting.append((kind, fields["queue"]))
    )
    consumer = SimpleNamespace(
        app=app, hub=object(), timer=Timer(), event_dispatcher=dispatcher, on_send_event_buffered=lambda: None
    )
    step = BatchedEvents(consumer)
    app.send_task("before")  # Celery keeps its sender from now on
    step.start(consumer)
    app.send_task("during")
    assert waiting == [("task-sent", "celery")]
    step.stop(consumer)
    app.send_task("after")
    assert len(waiting) == 1


def test_a_channel_keeps_its_client_until_it_has_another_pool(server: ValkeyServer) -> None:
    keep_redis_clients()
    with Connection(server.url) as connection:
        channel = connection.channel()
        first = channel._create_client()
        assert channel._create_client() is first
        assert channel._create_client(asynchronous=True) is not first
        channel._disconnect_pools()
        second = channel._create_client()
        assert second is not first
        assert second.ping()
