"""The batch journal in the ledger's server, deleted together with its run."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from uuid import uuid4

import redis

from storage.errors import Unavailable
from storage.ledger.scripts import Scripts, answering, read_at_once

KEEP_SECONDS = 7 * 24 * 3600  # after the run's last write; an upload session lasts one day
LEASE_SECONDS = 1800  # a writer or rewriter that died is forgotten after this; no request of theirs lives as long

_MEMORY = "memory"  # never a batch's name, which holds a table's URL


class RedisJournal:
    """A :class:`~storage.tables.batch_journal.BatchJournal`. Safe to share between threads.

    Keys: ``<prefix>run:{<run_id>}:batches`` (hash, some 150 bytes a shard), and of each partition in use
    ``<prefix>table:{<hash>}:writers`` (sorted set) and ``:rewriter``.
    """

    def __init__(self, client: redis.Redis, *, prefix: str = "tamis:") -> None:
        self._client = client
        self._prefix = prefix
        self._remember = Scripts.registered_with(client).remember_batch

    def memory(self, run_id: str) -> str:
        """Return the id of this run's journal; a wiped server gives a new one."""
        return self.remember(run_id, _MEMORY, uuid4().hex)

    def recall(self, run_id: str, batch: str) -> str | None:
        """Return the session remembered for the batch, or ``None``."""
        (session,) = read_at_once(self._client, ("HGET", f"{self._run(run_id)}:batches", batch))
        return session.decode() if session else None

    def remember(self, run_id: str, batch: str, session: str, *, instead_of: str | None = None) -> str:
        """Remember a session unless another one is stored, in one atomic step."""
        with answering(self._client):
            reply: bytes = self._remember(
                keys=[self._run(run_id)], args=[batch, session, instead_of or "", KEEP_SECONDS]
            )
        return reply.decode()

    @contextmanager
    def writing(self, table: str) -> Iterator[None]:
        """Count as a writer of the partition. A writer tells before it looks, a rewriter too: one sees the other."""
        key, token = self._table(table), uuid4().hex
        with answering(self._client):
            self._client.zadd(f"{key}:writers", {token: self._seconds() + LEASE_SECONDS})
            self._client.expire(f"{key}:writers", LEASE_SECONDS)
        try:
            with answering(self._client):
                is_rewritten = self._client.exists(f"{key}:rewriter")
            if is_rewritten:
                raise Unavailable(f"{table} is being rewritten; written to when that is done")
            yield
        finally:
            with answering(self._client):
                self._client.zrem(f"{key}:writers", token)

    @contextmanager
    def rewriting(self, table: str) -> Iterator[bool]:
        """Keep writers out, unless there are some."""
        key, token = self._table(table), uuid4().hex
        with answering(self._client):
            is_ours = bool(self._client.set(f"{key}:rewriter", token, nx=True, ex=LEASE_SECONDS))
        try:
            yield is_ours and not self._has_writers(key)
        finally:
            if is_ours:
                self._release(f"{key}:rewriter", token)

    def _has_writers(self, key: str) -> bool:
        with answering(self._client):
            return bool(self._client.zcount(f"{key}:writers", self._seconds(), "+inf"))

    def _release(self, key: str, token: str) -> None:
        with answering(self._client):
            if self._client.get(key) == token.encode():
                self._client.delete(key)

    def _seconds(self) -> int:
        """The server's clock: workers' clocks need not agree."""
        seconds, _ = self._client.time()
        return int(seconds)

    def _run(self, run_id: str) -> str:
        return f"{self._prefix}run:{{{run_id}}}"

    def _table(self, table: str) -> str:
        return f"{self._prefix}table:{{{hashlib.sha256(table.encode()).hexdigest()[:16]}}}"
