"""Nodes and worker processes with recent heartbeats, in Redis."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import redis
from redis.commands.core import Script

from storage.ledger.model import Node
from storage.ledger.scripts import Scripts, answering

KNOWN_NODE_SECONDS = 7 * 24 * 3600.0  # a node without a heartbeat for longer is forgotten
KNOWN_WORKER_SECONDS = 3600.0


class Heartbeats:
    """The heartbeats of all nodes. Thread-safe; raises ``Unavailable`` when the server does not answer."""

    def __init__(self, client: redis.Redis, *, prefix: str = "tamis:") -> None:
        self._client = client
        self._nodes = f"{prefix}nodes"
        self._workers = f"{prefix}workers"
        self._scripts = Scripts.registered_with(client)

    def beat_worker(self, worker: str) -> None:
        """Store a heartbeat of this worker process; its name is never reused."""
        self._call(self._scripts.beat_node, self._workers, KNOWN_WORKER_SECONDS, worker, "worker")

    def living_workers(self, max_age_seconds: float) -> frozenset[str]:
        """Return the workers with a heartbeat within ``max_age_seconds``."""
        reply = self._call(self._scripts.nodes, self._workers, max_age_seconds)
        return frozenset(member.decode().partition(" ")[2] for member in reply[::2])

    def beat_node(self, node: str, roles: Iterable[str]) -> None:
        """Store a heartbeat of a worker of the node, for each of its roles."""
        roles = tuple(roles)
        if any(" " in role for role in roles):
            raise ValueError(f"a role is one word, not one of {roles!r}")
        self._call(self._scripts.beat_node, self._nodes, KNOWN_NODE_SECONDS, node, *roles)

    def nodes(self, max_age_seconds: float) -> list[Node]:
        """Return the nodes with a heartbeat within ``max_age_seconds`` and its roles, sorted by name."""
        reply = iter(self._call(self._scripts.nodes, self._nodes, max_age_seconds))
        beats: dict[str, dict[str, float]] = {}
        for member, age_milliseconds in zip(reply, reply, strict=True):
            role, _, node = member.decode().partition(" ")
            beats.setdefault(node, {})[role] = age_milliseconds / 1000
        return [Node(name, ages) for name, ages in sorted(beats.items())]

    def _call(self, script: Script, key: str, seconds: float, *args: str) -> Any:
        with answering(self._client):
            return script(keys=[key], args=[round(seconds * 1000), *args])
