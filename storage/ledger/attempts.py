"""Attempts at the steps of rows, in Redis, beside the shard of their row."""

from __future__ import annotations

from collections.abc import Container
from typing import Any

import redis
from redis.commands.core import Script

from storage.ledger.model import Attempt, NotBegun
from storage.ledger.replies import foreign, in_progress
from storage.ledger.scripts import Scripts, answering, read_at_once


class Attempts:
    """The attempts of all runs. Thread-safe; raises ``Unavailable`` when the server does not answer."""

    def __init__(self, client: redis.Redis, *, prefix: str = "tamis:") -> None:
        self._client = client
        self._prefix = prefix
        self._scripts = Scripts.registered_with(client)

    def begin(
        self, run_id: str, shard_id: str, ordinal: int, step: str, token: str = "", *, most_unended: int = -1
    ) -> Attempt:
        """Count an attempt at one step of a row, unless its result, its run's order or unended attempts forbid it.

        ``token`` is ``<worker>.<unique text>``, new for each attempt. It names the attempt's worker, and a call that is
        repeated because its reply was lost counts once. With more unended attempts than ``most_unended`` (-1: any
        number) it is not begun.
        """
        told = (shard_id, ordinal, step, token, most_unended)
        reply = self._call(self._scripts.begin_attempt, self._run_key(run_id), *told)
        if reply is None:
            raise foreign(run_id, shard_id, ordinal)
        not_begun, number, unended = reply
        return Attempt(number, unended, NotBegun(not_begun.decode()))

    def end(self, run_id: str, shard_id: str, ordinal: int, step: str, token: str = "") -> None:
        """Note that an attempt ended, in success or failure: its process did not die during it."""
        self._call(self._scripts.end_attempt, self._run_key(run_id), shard_id, ordinal, step, token)

    def in_progress(self, run_id: str, shard_id: str, living: Container[str]) -> frozenset[int]:
        """Return the ordinals with an unended attempt at any step, except attempts of workers known to be dead."""
        attempts = f"{self._run_key(run_id)}:shard:{shard_id}:attempts"
        (counts,) = read_at_once(self._client, ("HGETALL", attempts))
        return in_progress({field.decode(): int(count) for field, count in counts.items()}, living)

    def forget(self, run_id: str, shard_id: str, ordinal: int) -> None:
        """Reset the attempts of every step of the row."""
        self._call(self._scripts.forget_attempts, self._run_key(run_id), shard_id, ordinal)

    def _run_key(self, run_id: str) -> str:
        return f"{self._prefix}run:{{{run_id}}}"

    def _call(self, script: Script, key: str, *args: str | int) -> Any:
        with answering(self._client):
            return script(keys=[key], args=args)
