from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from celery.worker.heartbeat import Heart
from kombu.asynchronous.timer import Timer

from tasks.worker.celery_fixes import NonBlockingHeartbeat


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
