"""How long work lay about after its worker was killed."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from tests.drill.diary import BEGIN, END, RECEIVED, Entry, ordinal_of

K = TypeVar("K", bound=Hashable)

SETTLE_SECONDS = 6.0  # after an outage: connections come back, leases that nobody could renew lapse


@dataclass(frozen=True, slots=True)
class Kill:
    """A worker that was killed."""

    name: str
    pid: int
    at: float


@dataclass(frozen=True, slots=True)
class Outage:
    """While the broker was away, or a worker frozen: delays then, of such steps, are not the kill's."""

    why: str
    begin: float
    end: float
    steps: str = ""  # how the names of the steps begin that it delays: all, unless it says so

    def overlaps(self, step: str, begin: float, end: float) -> bool:
        """Whether it may have delayed the step between these times."""
        return step.startswith(self.steps) and self.begin <= end and begin <= self.end + SETTLE_SECONDS


@dataclass(frozen=True, slots=True)
class Absence:
    """While no worker was there that could begin such steps: they waited for one, and not for their message."""

    begin: float
    end: float
    steps: str  # how their names begin

    def seconds_within(self, step: str, begin: float, end: float) -> float:
        """How much of the time between these two the step spent so."""
        return max(0.0, min(self.end, end) - max(self.begin, begin)) if step.startswith(self.steps) else 0.0


@dataclass(frozen=True, slots=True)
class Redelivery:
    """One step that a kill interrupted, and for how many seconds it lay about though somebody could have begun it."""

    kill: Kill
    step: str
    seconds: float


def redeliveries(
    entries: Sequence[Entry],
    kills: Sequence[Kill],
    outages: Sequence[Outage],
    absences: Sequence[Absence],
    deaths: Mapping[int, float],
) -> list[Redelivery]:
    """One for each step that a kill interrupted, but for those that an outage overlapped; the slowest first."""
    of_step, of_pid = _sorted_out(entries, lambda e: e.step), _sorted_out(entries, lambda e: e.pid)
    judged = _sorted_out((e for e in entries if e.event == END and e.step.startswith("infer ")), lambda e: e.step)
    found = []
    for kill in kills:
        for step, taken in _interrupted(of_pid.get(kill.pid, ())).items():
            recorded = judged.get(f"infer {ordinal_of(step)}", [])
            since, until = _waited(kill, taken, [*of_step[step], *recorded], deaths)
            if not any(outage.overlaps(step, kill.at, until) for outage in outages):
                absent = sum(absence.seconds_within(step, since, until) for absence in absences)
                found.append(Redelivery(kill, step, until - since - absent))
    return sorted(found, key=lambda one: one.seconds, reverse=True)


def _sorted_out(entries: Iterable[Entry], key: Callable[[Entry], K]) -> dict[K, list[Entry]]:
    piles: defaultdict[K, list[Entry]] = defaultdict(list)
    for entry in entries:
        piles[key(entry)].append(entry)
    return piles


def _interrupted(own: Sequence[Entry]) -> dict[str, float]:
    """Steps that a process had received and not ended when it died, with the time when it received them."""
    taken = Counter(entry.step for entry in own if entry.event == RECEIVED)
    taken.subtract(entry.step for entry in own if entry.event == END)
    return {entry.step: entry.at for entry in own if entry.event == RECEIVED and taken[entry.step] > 0}


def _waited(kill: Kill, taken: float, entries: Sequence[Entry], deaths: Mapping[int, float]) -> tuple[float, float]:
    """Return from when on, and until when, the step waited: for somebody to begin it, or for its row to be recorded.

    Who received it and died before beginning it starts the wait anew: the message was interrupted twice.
    """
    others = [entry for entry in entries if entry.pid != kill.pid]
    begun = (e.at for e in others if e.event == BEGIN and e.at > kill.at)
    ended = (e.at for e in others if e.event == END and e.at > taken)
    until = max(kill.at, min([*begun, *ended], default=math.inf))
    received = [e for e in others if e.event == RECEIVED and kill.at < e.at < until]
    died = [at for e in received if (at := deaths.get(e.pid, math.inf)) < until]
    return max([kill.at, *died]), until
