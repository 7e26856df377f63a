"""Faults of whole nodes in a drill of several: a disconnection and a loss of power, and their times."""

from __future__ import annotations

import time
from contextlib import closing
from dataclasses import dataclass, field

from tasks.queues import gpu_queue
from tests.drill.hosts import Hosts, OutsideBroker
from tests.drill.invariants import Invariants
from tests.drill.redelivery import Kill

CUT_AT, POWER_OFF_AT = 0.15, 0.25  # of the rows
FEWEST_WAITING = 5  # messages for a node before its fault, so that there is something to rescue


@dataclass
class Stranded:
    """A node that was lost at ``lost_at``, and the messages that waited for its GPU workers then."""

    node: str
    lost_at: float
    messages: int
    _last_seen: float = 0.0

    def note(self, waiting: int, now: float) -> None:
        """Note whether messages wait for the node; those that its workers held return to its queue."""
        if waiting:
            self._last_seen = now

    @property
    def seconds(self) -> float:
        """Seconds that messages waited for the lost node."""
        return max(0.0, self._last_seen - self.lost_at)


@dataclass
class NodeFaults:
    """Disconnects one node for a while and cuts the power of another; with three nodes, both at the same time."""

    hosts: Hosts
    broker: OutsideBroker
    invariants: Invariants
    cut_node: str
    dead_node: str
    cut_seconds: float
    stranded: dict[str, Stranded] = field(default_factory=dict)
    kills: list[Kill] = field(default_factory=list)
    back_seconds: float | None = None
    most_silent_seconds: float = 0.0  # age of the stalest health file of the disconnected node
    story: list[str] = field(default_factory=list)
    _restored_at: tuple[float, float] | None = None  # monotonic, wall clock

    def __post_init__(self) -> None:
        self._client = self.broker.client()
        self._started = time.monotonic()

    @property
    def is_over(self) -> bool:
        """True when both faults are over and the disconnected node works again."""
        return self.back_seconds is not None and bool(self.kills)

    def step(self) -> None:
        """Begin and end the faults that are due, and note their effects."""
        rows, total = self.invariants.done_rows, self.invariants.world.rows
        if self.cut_node not in self.stranded:
            if rows >= total * CUT_AT and self._waiting(self.cut_node) >= FEWEST_WAITING:
                self._cut()
        elif self._restored_at is None and time.monotonic() >= self._cut_at + self.cut_seconds:
            self._restore()
        is_due = rows >= total * POWER_OFF_AT and self._waiting(self.dead_node) >= FEWEST_WAITING
        if is_due and not self.kills and self._may_power_off():
            self._power_off()
        self._note_effects()

    def _cut(self) -> None:
        self.hosts.network.cut(self.cut_node)
        self._strand(self.cut_node)
        self._note(f"{self.cut_node} cut off")

    @property
    def _cut_at(self) -> float:
        return self.stranded[self.cut_node].lost_at

    def _restore(self) -> None:
        self.hosts.network.restore(self.cut_node)
        self._restored_at = time.monotonic(), time.time()
        self._note(f"{self.cut_node} has its network again")

    def _may_power_off(self) -> bool:
        """Return whether another node works; of two nodes, the other one must be connected again first."""
        has_another = len(self.hosts.network.nodes) > 2
        return self.cut_node in self.stranded if has_another else self.back_seconds is not None

    def _power_off(self) -> None:
        at = time.monotonic()
        workers = self.hosts.power_off(self.dead_node)
        self._strand(self.dead_node)
        self.kills = [Kill(f"a worker of {self.dead_node}", pid, at) for pid in sorted(workers)]
        self._note(f"{self.dead_node} lost its power: {len(workers)} workers killed")

    def _strand(self, node: str) -> None:
        found = self.stranded[node] = Stranded(node, time.monotonic(), self._waiting(node))
        self.invariants.expect(found.messages > 0, f"no message waited for {node}, so none can be rescued")

    def _note_effects(self) -> None:
        for node, stranded in self.stranded.items():
            if node == self.dead_node or self._restored_at is None:
                stranded.note(self._waiting(node), time.monotonic())
        if self.cut_node in self.stranded and self.back_seconds is None:
            silent_seconds = self.hosts.silent_seconds(self.cut_node, time.time())
            self.most_silent_seconds = max(self.most_silent_seconds, silent_seconds)
        if self._restored_at is not None and self.back_seconds is None:
            monotonic, wall = self._restored_at
            if self.hosts.have_taken(self.cut_node, wall):
                self.back_seconds = time.monotonic() - monotonic
                self._note(f"{self.cut_node}'s workers all work again")

    def _waiting(self, node: str) -> int:
        return int(self._client.llen(f"tamis:{gpu_queue(node)}"))

    def _note(self, said: str) -> None:
        self.story.append(f"{time.monotonic() - self._started:7.2f} s  {self.invariants.done_rows:6d} rows  {said}")

    def close(self) -> None:
        """Connect the node again, so that it can be stopped."""
        with closing(self._client):
            if self.cut_node in self.stranded and self._restored_at is None:
                self._restore()
