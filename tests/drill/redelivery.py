"""Time that interrupted steps waited after their worker was killed."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from tests.drill.step_log import BEGIN, END, RECEIVED, StepEvent, ordinal_of

K = TypeVar("K", bound=Hashable)

RECOVERY_SECONDS = 6.0  # after an outage, for connections and for messages whose times could not be renewed


@dataclass(frozen=True, slots=True)
class Kill:
    """A worker that was killed."""

    name: str
    pid: int
    at: float


@dataclass(frozen=True, slots=True)
class Outage:
    """A time in which the broker was away or a worker frozen; it may delay steps that a kill interrupted."""

    why: str
    begin: float
    end: float
    steps: str = ""  # prefix of the names of the steps that it delays

    def overlaps(self, step: str, begin: float, end: float) -> bool:
        """Return whether the outage may have delayed the step between these times."""
        return step.startswith(self.steps) and self.begin <= end and begin <= self.end + RECOVERY_SECONDS


@dataclass(frozen=True, slots=True)
class Absence:
    """A time without a worker for such steps: they waited for a worker, not for their message."""

    begin: float
    end: float
    steps: str  # prefix of their names

    def seconds_within(self, step: str, begin: float, end: float) -> float:
        """Return the seconds of absence between ``begin`` and ``end`` if the step is of this kind."""
        return max(0.0, min(self.end, end) - max(self.begin, begin)) if step.startswith(self.steps) else 0.0


@dataclass(frozen=True, slots=True)
class Redelivery:
    """A step that a kill interrupted, and the seconds that it waited although a worker could have begun it."""

    kill: Kill
    step: str
    seconds: float


def redeliveries(
    events: Sequence[StepEvent],
    kills: Sequence[Kill],
    outages: Sequence[Outage],
    absences: Sequence[Absence],
    deaths: Mapping[int, float],
) -> list[Redelivery]:
    """Return the steps that a kill interrupted, without those that an outage overlapped, the slowest first."""
    of_step, of_pid = _sorted_out(events, lambda e: e.step), _sorted_out(events, lambda e: e.pid)
    judged = _sorted_out((e for e in events if e.event == END and e.step.startswith("infer ")), lambda e: e.step)
    found = []
    for kill in kills:
        for step, taken in _interrupted(of_pid.get(kill.pid, ())).items():
            recorded = judged.get(f"infer {ordinal_of(step)}", [])
            since, until = _waited(kill, taken, [*of_step[step], *recorded], deaths)
            if not any(outage.overlaps(step, kill.at, until) for outage in outages):
                absent = sum(absence.seconds_within(step, since, until) for absence in absences)
                found.append(Redelivery(kill, step, until - since - absent))
    return sorted(found, key=lambda one: one.seconds, reverse=True)


def _sorted_out(events: Iterable[StepEvent], key: Callable[[StepEvent], K]) -> dict[K, list[StepEvent]]:
    piles: defaultdict[K, list[StepEvent]] = defaultdict(list)
    for entry in events:
        piles[key(entry)].append(entry)
    return piles


def _interrupted(own: Sequence[StepEvent]) -> dict[str, float]:
    """Return the steps that a process had received and not ended, with the times when it received them."""
    taken = Counter(entry.step for entry in own if entry.event == RECEIVED)
    taken.subtract(entry.step for entry in own if entry.event == END)
    return {entry.step: entry.at for entry in own if entry.event == RECEIVED and taken[entry.step] > 0}


def _waited(kill: Kill, taken: float, events: Sequence[StepEvent], deaths: Mapping[int, float]) -> tuple[float, float]:
    """Return begin and end of the step's wait, which ends when another worker begins it or its row is recorded.

    A worker that received the step and died before beginning it starts the wait anew: the step was interrupted twice.
    """
    others = [entry for entry in events if entry.pid != kill.pid]
    begun = (e.at for e in others if e.event == BEGIN and e.at > kill.at)
    ended = (e.at for e in others if e.event == END and e.at > taken)
    until = max(kill.at, min([*begun, *ended], default=math.inf))
    received = [e for e in others if e.event == RECEIVED and kill.at < e.at < until]
    died = [at for e in received if (at := deaths.get(e.pid, math.inf)) < until]
    return max([kill.at, *died]), until
