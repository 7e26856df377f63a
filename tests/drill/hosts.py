"""The nodes of a drill of several nodes, each in its own network namespace, and their broker."""

from __future__ import annotations

import secrets
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass, field

import redis

from tasks.node.parent_death import ending_with_parent
from tests.drill.brokers import ValkeyBroker, unfinished_messages
from tests.drill.fleet import DRAIN_SECONDS
from tests.drill.network import Network
from tests.drill.world import DrillWorld

WORKERS = 3  # of a node: io, gpu0 and results
STOP_SECONDS = DRAIN_SECONDS + 20.0


class OutsideBroker:
    """Messages and ledger in one Valkey server with a password, which listens on the bridge only."""

    def __init__(self, address: str) -> None:
        self._inner, self._address = ValkeyBroker(), address
        self._password = secrets.token_hex(16)

    def start(self) -> None:
        """Start the server and set its password and address."""
        self._inner.start()
        with closing(self._inner.server.client()) as client:
            client.config_set("requirepass", self._password)
            client.execute_command("AUTH", self._password)
            client.config_set("bind", self._address)

    def environment(self) -> Mapping[str, str]:
        """Return the settings of a worker for this broker."""
        return {"TAMIS_BROKER_URL": f"redis://:{self._password}@{self._address}:{self._inner.server.port}/0"}

    def client(self) -> redis.Redis:
        """Return a new client; the caller closes it."""
        port = self._inner.server.port
        return redis.Redis(host=self._address, port=port, password=self._password, socket_timeout=30)

    def unfinished(self) -> int:
        """Return the number of messages that wait or are unacknowledged."""
        with closing(self.client()) as client:
            return unfinished_messages(client)

    def stop(self) -> None:
        """Kill the server and remove its data."""
        self._inner.stop()


@dataclass
class Hosts:
    """The nodes' supervisors, and the state of their workers."""

    world: DrillWorld
    network: Network
    supervisors: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    def start(self) -> None:
        """Start every node."""
        for node in self.network.nodes:
            command = self.network.within(node, [sys.executable, "-m", "tests.drill.node", node])
            with (self.world.state / f"{node}.log").open("wb") as log:
                self.supervisors[node] = subprocess.Popen(
                    ending_with_parent(command),
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    start_new_session=True,
                )

    def is_up(self) -> bool:
        """Return whether every node's workers consume."""
        return all(len(self.workers(node)) == WORKERS for node in self.network.nodes)

    def workers(self, node: str) -> frozenset[int]:
        """Return the pids of the node's workers that live and have begun to consume."""
        pids = self.network.pids(node)
        return frozenset(pid for path in self.world.ready.iterdir() if (pid := int(path.name)) in pids)

    def have_taken(self, node: str, since: float) -> bool:
        """Return whether each worker of the node received a message after ``since``, a wall-clock time."""
        marks = [self.world.taken / str(pid) for pid in self.workers(node)]
        return len(marks) == WORKERS and all(mark.exists() and mark.stat().st_mtime > since for mark in marks)

    def silent_seconds(self, node: str, now: float) -> float:
        """Return the age in seconds of the node's stalest health file; 0 before there is one."""
        beats = (self.world.state / node / "health").glob("[!.]*.json")
        return max((now - beat.stat().st_mtime for beat in beats), default=0.0)

    def power_off(self, node: str) -> frozenset[int]:
        """Kill all processes of the node; return the pids of its workers."""
        workers = self.workers(node)
        self.network.power_off(node)
        self.supervisors.pop(node).wait()
        return workers

    def stop(self) -> list[str]:
        """Stop every running node; return messages about those that had to be killed."""
        for supervisor in self.supervisors.values():
            supervisor.terminate()
        deadline = time.monotonic() + STOP_SECONDS
        said = []
        for node, supervisor in self.supervisors.items():
            try:
                supervisor.wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                self.network.power_off(node)
                said.append(f"{node} did not drain within {STOP_SECONDS:g} s: killed")
            log = (self.world.state / f"{node}.log").read_text(encoding="utf-8", errors="replace")
            said += [f"{node}: {line}" for line in log.splitlines() if "had not drained" in line or "Traceback" in line]
        return said
