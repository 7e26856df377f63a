"""Reports of hosts: the offset of a host's clock from the server's, the names in use, and warnings about both."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import quote, unquote

import redis

from storage.ledger.scripts import Scripts, answering

SAMPLES = 3  # of the server's time; the one with the shortest round trip counts
CLAIM_SECONDS = 3600.0  # a name that was not claimed for longer is forgotten
WARNING_SECONDS = 30.0  # a warning is repeated more often than that while its reason holds


@dataclass(frozen=True, slots=True)
class HostWarning:
    """A fault of one host or worker, with its remedy."""

    name: str
    text: str
    remedy: str


class HostReports:
    """Reports of this process and of others. Thread-safe; raises ``Unavailable`` when the server does not answer.

    ``clock`` is this host's wall clock, in seconds.
    """

    def __init__(self, client: redis.Redis, *, prefix: str = "tamis:", clock: Callable[[], float] = time.time) -> None:
        self._client, self._clock = client, clock
        self._names, self._warnings = f"{prefix}claimed-names", f"{prefix}host-warnings"
        self._scripts = Scripts.registered_with(client)
        self._claimed_at: dict[str, float] = {}

    def clock_offset_seconds(self) -> float:
        """Return this host's time minus the server's, accurate to half a round trip."""
        return min(self._sample() for _ in range(SAMPLES))[1]

    def claim(self, name: str, identity: str) -> list[str]:
        """Note that ``identity``, a single word, uses the name; return the others that claimed it since the last call.

        An identity that ended before this one began is not returned: a restarted process may use its old name.
        """
        now, since = time.monotonic(), self._claimed_at.get(name)
        self._claimed_at[name] = now
        others = [] if since is None else self._fresh(self._names, now - since)
        with answering(self._client):
            self._scripts.beat_node(keys=[self._names], args=[round(CLAIM_SECONDS * 1000), name, identity])
        return sorted(word for word, owner in others if owner == name and word != identity)

    def warn(self, warning: HostWarning) -> None:
        """Store a warning for ``WARNING_SECONDS``."""
        word = f"{quote(warning.text)}|{quote(warning.remedy)}"
        with answering(self._client):
            self._scripts.beat_node(keys=[self._warnings], args=[round(WARNING_SECONDS * 1000), warning.name, word])

    def warnings(self) -> list[HostWarning]:
        """Return the newest warnings of every host and worker, sorted by name."""
        found = {}
        for word, name in self._fresh(self._warnings, WARNING_SECONDS):
            text, remedy = map(unquote, word.split("|"))
            found[name, remedy] = HostWarning(name, text, remedy)
        return [found[key] for key in sorted(found)]

    def _fresh(self, key: str, max_age_seconds: float) -> list[tuple[str, str]]:
        """Return the members of a sorted set that are younger, oldest first."""
        with answering(self._client):
            reply = self._scripts.nodes(keys=[key], args=[round(max_age_seconds * 1000)])
        words = (member.decode().partition(" ") for member in reply[::2])
        return [(word, name) for word, _, name in words]

    def _sample(self) -> tuple[float, float]:
        """Return the round trip and the offset, in seconds."""
        before = self._clock()
        with answering(self._client):
            seconds, microseconds = self._client.time()
        after = self._clock()
        return after - before, (before + after) / 2 - (seconds + microseconds / 1e6)
