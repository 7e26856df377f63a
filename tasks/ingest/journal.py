"""The record of what ingestion has found and done, in Redis.

It is a cache and never the truth: when it is wiped, the output tables are read again.

One source's keys, after ``<prefix>ingest:{<name>}`` (the braces keep a source in one cluster slot)::

    (itself)      hash    the fields of SourceStatus; times in ISO 8601, backfills as JSON
    :partitions   hash    2025-01-15 -> its PartitionEntry, JSON
    :lease        string  the process that checks the source now; it expires by itself
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

import redis
from pydantic import Json, TypeAdapter

from storage.ledger.scripts import answering, read_at_once
from tasks.ingest.model import BackfillRange, PartitionEntry


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceStatus:
    """The state of a source as a whole. A time of ``None`` means never."""

    next_due: datetime | None = None
    schedule: str = ""  # the schedule that next_due was computed from
    checked_at: datetime | None = None
    node: str = ""  # the node of the last check
    error: str = ""
    errors: int = 0  # in a row
    skipped: int = 0
    skip_reason: str = ""
    skipped_at: datetime | None = None
    paused_at: datetime | None = None
    started_run: str = ""
    started_at: datetime | None = None
    backfills: Json[tuple[BackfillRange, ...]] = ()

    @property
    def is_paused(self) -> bool:
        """Return whether a person paused the source."""
        return self.paused_at is not None


_STATUS = TypeAdapter(SourceStatus)
_ENTRY = TypeAdapter(PartitionEntry)
_BACKFILLS = TypeAdapter(tuple[BackfillRange, ...])


class IngestJournal:
    """Reads and writes the record. Thread-safe; raises ``Unavailable`` when the server does not answer."""

    def __init__(self, client: redis.Redis, *, prefix: str = "tamis:") -> None:
        self.client = client
        self._prefix = prefix

    def _key(self, name: str) -> str:
        return f"{self._prefix}ingest:{{{name}}}"

    def lease_key(self, name: str) -> str:
        """Return the key of the source's lease."""
        return f"{self._key(name)}:lease"

    def read(self, name: str) -> tuple[SourceStatus, dict[str, PartitionEntry]]:
        """Return the source's status and all its entries, read in one transaction."""
        key = self._key(name)
        status, entries = read_at_once(self.client, ("HGETALL", key), ("HGETALL", f"{key}:partitions"))
        texts = {field.decode(): value.decode() for field, value in status.items()}
        return _STATUS.validate_python(texts), {
            day.decode(): _ENTRY.validate_json(text) for day, text in entries.items()
        }

    def note(self, name: str, **changes: str | float | datetime | None) -> None:
        """Change fields of the source's status; ``None`` clears one."""
        key = self._key(name)
        cleared = [field for field, value in changes.items() if value is None]
        values = {field: _text(value) for field, value in changes.items() if value is not None}
        with answering(self.client), self.client.pipeline(transaction=True) as pipeline:
            if cleared:
                pipeline.hdel(key, *cleared)
            if values:
                pipeline.hset(key, mapping=values)  # type: ignore[arg-type]  # str is one of its key types
            pipeline.execute()

    def note_skip(self, name: str, reason: str, now: datetime) -> None:
        """Count a tick that did not check the source, with the reason."""
        with answering(self.client):
            self.client.hincrby(self._key(name), "skipped", 1)
        self.note(name, skip_reason=reason, skipped_at=now)

    def put(self, name: str, entries: Mapping[str, PartitionEntry]) -> None:
        """Store entries."""
        if entries:
            texts = {day: _ENTRY.dump_json(entry) for day, entry in entries.items()}
            with answering(self.client):
                self.client.hset(f"{self._key(name)}:partitions", mapping=texts)  # type: ignore[arg-type]  # likewise

    def drop(self, name: str, days: Iterable[str]) -> None:
        """Remove entries, so that their partitions are checked again."""
        if dropped := list(days):
            with answering(self.client):
                self.client.hdel(f"{self._key(name)}:partitions", *dropped)

    def set_backfills(self, name: str, backfills: Iterable[BackfillRange]) -> None:
        """Replace the requested backfills."""
        self.note(name, backfills=_BACKFILLS.dump_json(tuple(backfills)).decode())


def _text(value: str | float | datetime) -> str:
    return value.astimezone(UTC).isoformat() if isinstance(value, datetime) else str(value)
