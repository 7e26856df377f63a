"""What ingestion has seen and done, in Redis. Never the truth: wipe it, and the output tables are consulted again.

One source's keys, after ``<prefix>ingest:{<name>}`` (the braces keep a source in one cluster slot)::

    (itself)      hash    next_due, schedule, looked_at, node, error, errors, skipped, skip_reason, skipped_at,
                          paused_at, started_run, started_at, backfills
    :partitions   hash    2025-01-15 -> its entry, JSON
    :lease        string  who looks at the source now; lapses by itself
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import Any

import redis

from storage.ledger.scripts import answering, read_at_once
from tasks.ingest.model import Backfill, Entry, State


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """What is known of a source as a whole. ``None`` for a time: never."""

    next_due: datetime | None = None
    schedule: str = ""  # the one that next_due was reckoned from
    looked_at: datetime | None = None
    node: str = ""  # that looked last
    error: str = ""
    errors: int = 0  # in a row
    skipped: int = 0
    skip_reason: str = ""
    skipped_at: datetime | None = None
    paused_at: datetime | None = None
    started_run: str = ""
    started_at: datetime | None = None
    backfills: tuple[Backfill, ...] = field(default=())

    @property
    def is_paused(self) -> bool:
        """Whether a person paused the source."""
        return self.paused_at is not None


class Journal:
    """Safe to share between threads; raises ``Unavailable`` when the server does not answer."""

    def __init__(self, client: redis.Redis, *, prefix: str = "tamis:") -> None:
        self._client = client
        self._prefix = prefix

    def _key(self, name: str) -> str:
        return f"{self._prefix}ingest:{{{name}}}"

    def lease_key(self, name: str) -> str:
        """The key of the source's lease."""
        return f"{self._key(name)}:lease"

    @property
    def client(self) -> redis.Redis:
        """The Redis client, for the lease."""
        return self._client

    def read(self, name: str) -> tuple[Status, dict[str, Entry]]:
        """The source's status and all its entries, of one instant."""
        key = self._key(name)
        status, entries = read_at_once(self._client, ("HGETALL", key), ("HGETALL", f"{key}:partitions"))
        return _status_of(status), {day.decode(): _entry_of(text) for day, text in entries.items()}

    def note(self, name: str, **changes: str | float | datetime | None) -> None:
        """Change fields of the source's status; ``None`` clears one."""
        key = self._key(name)
        cleared = [field_name for field_name, value in changes.items() if value is None]
        values = {field_name: _text(value) for field_name, value in changes.items() if value is not None}
        with answering(self._client), self._client.pipeline(transaction=True) as pipeline:
            if cleared:
                pipeline.hdel(key, *cleared)
            if values:
                pipeline.hset(key, mapping=values)  # type: ignore[arg-type]  # str is one of its key types
            pipeline.execute()

    def note_skip(self, name: str, reason: str, now: datetime) -> None:
        """Count a tick that left the source alone, and why."""
        with answering(self._client):
            self._client.hincrby(self._key(name), "skipped", 1)
        self.note(name, skip_reason=reason, skipped_at=now)

    def put(self, name: str, entries: Mapping[str, Entry]) -> None:
        """Remember entries."""
        if entries:
            texts = {day: json.dumps(asdict(entry), separators=(",", ":")) for day, entry in entries.items()}
            with answering(self._client):
                self._client.hset(f"{self._key(name)}:partitions", mapping=texts)  # type: ignore[arg-type]  # likewise

    def drop(self, name: str, days: Iterable[str]) -> None:
        """Forget entries, so that their partitions are looked at anew."""
        if gone := list(days):
            with answering(self._client):
                self._client.hdel(f"{self._key(name)}:partitions", *gone)

    def set_backfills(self, name: str, backfills: Iterable[Backfill]) -> None:
        """Replace the ranges that are asked for."""
        self.note(name, backfills=json.dumps([asdict(backfill) for backfill in backfills]))


def _text(value: str | float | datetime) -> str:
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat()
    return str(value)


def _entry_of(text: bytes) -> Entry:
    stored: dict[str, Any] = json.loads(text)
    return Entry(**stored | {"state": State(stored["state"])})


def _status_of(stored: Mapping[bytes, bytes]) -> Status:
    texts = {name.decode(): value.decode() for name, value in stored.items()}
    known: dict[str, Any] = {}
    for name in ("next_due", "looked_at", "skipped_at", "paused_at", "started_at"):
        if name in texts:
            known[name] = datetime.fromisoformat(texts[name])
    for name in ("errors", "skipped"):
        known[name] = int(texts.get(name, 0))
    for name in ("schedule", "node", "error", "skip_reason", "started_run"):
        known[name] = texts.get(name, "")
    backfills = tuple(Backfill(**one) for one in json.loads(texts.get("backfills", "[]")))
    return Status(backfills=backfills, **known)
