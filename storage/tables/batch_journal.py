"""The upload session of each batch, for tables that cannot store it themselves."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol
from uuid import uuid4

from storage.errors import Unavailable


class BatchJournal(Protocol):
    """The upload session of each batch of a run, shared by all workers that write to the table."""

    def memory(self, run_id: str) -> str:
        """Return the id of this run's journal. A new id means that everything remembered before is lost."""

    def recall(self, run_id: str, batch: str) -> str | None:
        """Return the session remembered for the batch, or ``None``."""

    def remember(self, run_id: str, batch: str, session: str, *, instead_of: str | None = None) -> str:
        """Remember a session unless another one than ``instead_of`` is stored; return the stored session.

        All workers that write a batch get the same answer, so they use one session.
        """

    def writing(self, table: str) -> AbstractContextManager[None]:
        """Hold while a batch goes into the partition; ``Unavailable`` during a rewrite."""

    def rewriting(self, table: str) -> AbstractContextManager[bool]:
        """Hold while a partition is rewritten; yields False, and holds nothing, while anybody writes to it."""


class MemoryJournal:
    """A :class:`BatchJournal` in one process's memory, for commands and tests. Workers share the one in Redis."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._memories: dict[str, str] = {}
        self._sessions: dict[tuple[str, str], str] = {}
        self._writers: dict[str, int] = {}
        self._rewritten: set[str] = set()

    def memory(self, run_id: str) -> str:
        """Return the id of this run's journal."""
        with self._lock:
            return self._memories.setdefault(run_id, uuid4().hex)

    def recall(self, run_id: str, batch: str) -> str | None:
        """Return the session remembered for the batch, or ``None``."""
        return self._sessions.get((run_id, batch))

    def remember(self, run_id: str, batch: str, session: str, *, instead_of: str | None = None) -> str:
        """Remember a session unless another one is stored."""
        with self._lock:
            standing = self._sessions.get((run_id, batch), instead_of)
            self._sessions[run_id, batch] = session if standing == instead_of else str(standing)
            return self._sessions[run_id, batch]

    def forget(self) -> None:
        """Drop all entries, as a wiped server does."""
        with self._lock:
            self._memories.clear()
            self._sessions.clear()

    @contextmanager
    def writing(self, table: str) -> Iterator[None]:
        """Count as a writer of the partition."""
        with self._lock:
            if table in self._rewritten:
                raise Unavailable(rewritten_now(table))
            self._writers[table] = self._writers.get(table, 0) + 1
        try:
            yield
        finally:
            with self._lock:
                self._writers[table] -= 1

    @contextmanager
    def rewriting(self, table: str) -> Iterator[bool]:
        """Keep writers out, unless there are some."""
        with self._lock:
            is_free = table not in self._rewritten and not self._writers.get(table)
            if is_free:
                self._rewritten.add(table)
        try:
            yield is_free
        finally:
            if is_free:
                with self._lock:
                    self._rewritten.discard(table)


def rewritten_now(table: str) -> str:
    """Return the message for a write during a rewrite."""
    return f"{table} is being rewritten without the rows that a retry replaced; written to when that is done"
