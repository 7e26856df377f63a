"""Reports of workers that do no work, so that a person who waits for a run can see why."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from urllib.parse import quote, unquote

import redis

from storage.ledger.scripts import Scripts, answering

KNOWN_SECONDS = 30.0  # a worker repeats its report more often than that
REASON_CHARACTERS = 300


@dataclass(frozen=True, slots=True)
class WorkerReport:
    """A worker's state for ``seconds``: ``warming`` (models load), ``drained`` (by an operator) or ``failing``.

    A failing worker tries its rows again and again; ``reason`` is its last error.
    """

    name: str
    state: str
    queues: frozenset[str]
    seconds: float
    reason: str = ""


class WorkerReports:
    """The latest reports. Thread-safe; raises ``Unavailable`` when the server does not answer."""

    def __init__(self, client: redis.Redis, *, prefix: str = "tamis:") -> None:
        self._client = client
        self._key = f"{prefix}worker-reports"
        self._scripts = Scripts.registered_with(client)

    def put(self, report: WorkerReport) -> None:
        """Store the report for ``KNOWN_SECONDS``. The worker's name and state are single words."""
        reason = quote(report.reason[:REASON_CHARACTERS])
        words = (report.state, f"{report.seconds:.0f}", ",".join(sorted(report.queues)), reason)
        with answering(self._client):
            self._scripts.beat_node(keys=[self._key], args=[round(KNOWN_SECONDS * 1000), report.name, "|".join(words)])

    def all(self) -> list[WorkerReport]:
        """Return the newest report of each worker, sorted by name."""
        with answering(self._client):
            reply = self._scripts.nodes(keys=[self._key], args=[round(KNOWN_SECONDS * 1000)])
        aged = zip(reply[::2], map(int, reply[1::2]), strict=True)
        newest: dict[str, WorkerReport] = {}
        for member, age_milliseconds in sorted(aged, key=lambda one: one[1], reverse=True):
            words, _, name = member.decode().partition(" ")
            state, seconds, queues, reason = words.split("|")
            since = float(seconds) + age_milliseconds / 1000
            newest[name] = WorkerReport(name, state, _names(queues.split(",")), since, unquote(reason))
        return [newest[name] for name in sorted(newest)]


def _names(words: Iterable[str]) -> frozenset[str]:
    return frozenset(word for word in words if word)
