"""Work that is done once in a period by the whole fleet, although several processes ask for it."""

from __future__ import annotations

import redis

from storage.ledger.scripts import answering


class Periods:
    """Claims of periodic work. Thread-safe; raises ``Unavailable`` when the server does not answer."""

    def __init__(self, client: redis.Redis, *, prefix: str = "tamis:") -> None:
        self._client = client
        self._prefix = f"{prefix}period:"

    def claim(self, name: str, seconds: float) -> bool:
        """Return whether this is the first claim of ``name`` for ``seconds``; a claim expires by itself."""
        with answering(self._client):
            return bool(self._client.set(f"{self._prefix}{name}", b"1", nx=True, px=max(1, round(seconds * 1000))))
