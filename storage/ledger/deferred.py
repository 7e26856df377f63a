"""Work with a time, in Redis: deferred messages, which take no worker's slot, and claims of periodic tasks."""

from __future__ import annotations

from collections.abc import Sequence

import redis

from storage.ledger.scripts import Scripts, answering, read_at_once

REDELIVER_AFTER_SECONDS = 30.0  # a message whose taker died is due again after this time


class Deferred:
    """A set of messages, each with its due time (by the server's clock). Any number of processes may take from it.

    Raises ``Unavailable`` when the server does not answer. Safe to share between threads.
    """

    def __init__(self, client: redis.Redis, *, prefix: str = "tamis:") -> None:
        self._client = client
        self._steps, self._writes = f"{prefix}deferred", f"{prefix}deferred:writes"
        self._scripts = Scripts.registered_with(client)

    def add(self, message: str, wait_seconds: float, *, is_write: bool = False) -> None:
        """Keep a message until it is due. Equal messages are one, due at the time of the last call.

        ``is_write``: it waits for an output table, so it says nothing about rows in work (see :meth:`count_steps`).
        """
        key = self._writes if is_write else self._steps
        with answering(self._client):
            self._scripts.defer(keys=self._keys(key), args=[message, round(wait_seconds * 1000)])

    def take_due(self, most: int) -> list[str]:
        """Return messages that are due, for the caller to send and then :meth:`forget`.

        They stay until they are forgotten: a message whose taker died is due again after ``REDELIVER_AFTER_SECONDS``.
        """
        taken: list[bytes] = []
        for key in (self._steps, self._writes):
            with answering(self._client):
                limits = [most - len(taken), round(REDELIVER_AFTER_SECONDS * 1000)]
                taken += self._scripts.take_due(keys=self._keys(key), args=limits)
        return [message.decode() for message in taken]

    def forget(self, messages: Sequence[str]) -> None:
        """Remove messages that were sent. A message that was added again meanwhile is kept for its next try."""
        for key in (self._steps, self._writes) if messages else ():
            with answering(self._client):
                self._scripts.forget_sent(keys=self._keys(key), args=messages)

    def __len__(self) -> int:
        """Return the number of messages, due or not."""
        return sum(map(int, read_at_once(self._client, ("ZCARD", self._steps), ("ZCARD", self._writes))))

    def count_steps(self) -> int:
        """Return the number of messages about rows in work: waiting writes are not counted."""
        (count,) = read_at_once(self._client, ("ZCARD", self._steps))
        return int(count)

    @staticmethod
    def _keys(key: str) -> list[str]:
        return [key, f"{key}:sending"]


class Periods:
    """Claims of work that the fleet does once in a period, although several processes ask for it.

    Thread-safe; raises ``Unavailable`` when the server does not answer.
    """

    def __init__(self, client: redis.Redis, *, prefix: str = "tamis:") -> None:
        self._client = client
        self._prefix = f"{prefix}period:"

    def claim(self, name: str, seconds: float) -> bool:
        """Return whether this is the first claim of ``name`` for ``seconds``; a claim expires by itself."""
        with answering(self._client):
            return bool(self._client.set(f"{self._prefix}{name}", b"1", nx=True, px=max(1, round(seconds * 1000))))
