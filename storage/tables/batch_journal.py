"""The upload session of each batch, for tables that cannot store it themselves."""

from __future__ import annotations

import threading
from typing import Protocol
from uuid import uuid4


class BatchJournal(Protocol):
    """The upload session of each batch of a run, shared by all workers that write to the table."""

    def memory(self, run_id: str) -> str:
        """Return the id of this run's journal. A new id means that everything remembered before is lost."""

    def recall(self, run_id: str, batch: str) -> str | None:
        """Return the session remembered for the batch, or ``None``."""

    def remember(
        self, run_id: str, batch: str, session: str, *, instead_of: str | None = None, memory: str | None = None
    ) -> str | None:
        """Remember a session unless another one than ``instead_of`` is stored; return the stored session.

        All workers that write a batch get the same answer, so they use one session. ``None``: the journal is no longer
        the one of id ``memory``, and nothing was remembered.
        """


class MemoryJournal:
    """A :class:`BatchJournal` in one process's memory, for commands and tests. Workers share the one in Redis."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._memories: dict[str, str] = {}
        self._sessions: dict[tuple[str, str], str] = {}

    def memory(self, run_id: str) -> str:
        """Return the id of this run's journal."""
        with self._lock:
            return self._memories.setdefault(run_id, uuid4().hex)

    def recall(self, run_id: str, batch: str) -> str | None:
        """Return the session remembered for the batch, or ``None``."""
        return self._sessions.get((run_id, batch))

    def remember(
        self, run_id: str, batch: str, session: str, *, instead_of: str | None = None, memory: str | None = None
    ) -> str | None:
        """Remember a session unless another one is stored."""
        with self._lock:
            if memory is not None and self._memories.get(run_id) != memory:
                return None
            standing = self._sessions.get((run_id, batch), instead_of)
            self._sessions[run_id, batch] = session if standing == instead_of else str(standing)
            return self._sessions[run_id, batch]

    def forget(self) -> None:
        """Drop all entries, as a wiped server does."""
        with self._lock:
            self._memories.clear()
            self._sessions.clear()
