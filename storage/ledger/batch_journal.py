"""The batch journal in the ledger's server, deleted together with its run."""

from __future__ import annotations

from uuid import uuid4

import redis

from storage.ledger.scripts import Scripts, answering, read_at_once

KEEP_SECONDS = 7 * 24 * 3600  # after the run's last write; an upload session lasts one day

_MEMORY = "memory"  # never a batch's name, which holds a table's URL


class RedisJournal:
    """A :class:`~storage.tables.batch_journal.BatchJournal`. Safe to share between threads.

    Key: ``<prefix>run:{<run_id>}:batches`` (hash, some 150 bytes a shard).
    """

    def __init__(self, client: redis.Redis, *, prefix: str = "tamis:") -> None:
        self._client = client
        self._prefix = prefix
        self._remember = Scripts.registered_with(client).remember_batch

    def memory(self, run_id: str) -> str:
        """Return the id of this run's journal; a wiped server gives a new one."""
        return self.remember(run_id, _MEMORY, uuid4().hex) or ""

    def recall(self, run_id: str, batch: str) -> str | None:
        """Return the session remembered for the batch, or ``None``."""
        (session,) = read_at_once(self._client, ("HGET", f"{self._run(run_id)}:batches", batch))
        return session.decode() if session else None

    def remember(
        self, run_id: str, batch: str, session: str, *, instead_of: str | None = None, memory: str | None = None
    ) -> str | None:
        """Remember a session unless another one is stored, in one atomic step."""
        with answering(self._client):
            arguments: list[str | int] = [batch, session, instead_of or "", KEEP_SECONDS, memory or ""]
            reply: bytes | None = self._remember(keys=[self._run(run_id)], args=arguments)
        return reply.decode() if reply is not None else None

    def _run(self, run_id: str) -> str:
        return f"{self._prefix}run:{{{run_id}}}"
