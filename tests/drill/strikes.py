"""Carries out the plan, paced by the work: a strike is due when so many rows are done, however long that takes."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from tests.drill.brokers import Broker
from tests.drill.fleet import Fleet
from tests.drill.plan import Fault, Strike
from tests.drill.redelivery import Kill, Outage
from tests.drill.watch import Watch
from tests.drill.world import World, empty_disk, fill_disk

PATIENCE_SECONDS = 10.0  # for a worker of the wanted role to be up; after that any other will do


@dataclass
class Strikes:
    """What is due, what is going on, what was done."""

    world: World
    broker: Broker
    fleet: Fleet
    watch: Watch
    submit: Callable[[], None]
    has_disks: bool
    done: Counter[Fault] = field(default_factory=Counter)
    kills: list[Kill] = field(default_factory=list)
    outages: list[Outage] = field(default_factory=list)
    diary: list[str] = field(default_factory=list)
    waiting: list[Strike] = field(default_factory=list)
    _due_at: float | None = None
    _is_broker_up: bool = True
    _ends: list[tuple[float, Callable[[], None]]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._started = time.monotonic()
        self.waiting = [
            strike for strike in self.world.plan.strikes if self.has_disks or strike.fault is not Fault.DISK_FULL
        ]
        self._act: dict[Fault, Callable[[Strike], bool]] = {
            Fault.KILL: self._kill,
            Fault.CUT_CONNECTIONS: self._cut_connections,
            Fault.BROKER_RESTART: self._restart_broker,
            Fault.WIPE: self._wipe,
            Fault.FREEZE: self._freeze,
            Fault.DISK_FULL: self._fill_disk,
            Fault.OUTPUT_AWAY: self._hide_output,
            Fault.LOST_REPLY: self._lose_reply,
        }

    @property
    def left(self) -> int:
        """Strikes that are still to come or still going on."""
        return len(self.waiting) + len(self._ends)

    def step(self) -> None:
        """End what has lasted long enough, and begin what is due."""
        now = time.monotonic()
        over = [end for end in self._ends if end[0] <= now]
        self._ends = [end for end in self._ends if end[0] > now]
        for _, end in over:
            end()
        while self.waiting and self.watch.done_rows >= self.waiting[0].at_row and self._is_time(self.waiting[0]):
            if not self._act[self.waiting[0].fault](self.waiting[0]):
                return
            self.done[self.waiting.pop(0).fault] += 1
            self._due_at = None

    def end_all(self) -> None:
        """End everything that goes on, whenever it was to end."""
        for _, end in self._ends:
            end()
        self._ends.clear()

    def _is_time(self, strike: Strike) -> bool:
        now = time.monotonic()
        self._due_at = self._due_at or now + strike.delay_seconds
        return now >= self._due_at

    def _note(self, said: str) -> None:
        self.diary.append(f"{time.monotonic() - self._started:7.2f} s  {self.watch.done_rows:6d} rows  {said}")

    def _target(self, role: str) -> tuple[str, int] | None:
        """The process of this role that has lived longest; one of another role when none comes up in time."""
        found = self.fleet.targets(role)
        if not found and self._due_at is not None and time.monotonic() > self._due_at + PATIENCE_SECONDS:
            found = self.fleet.targets("")
        return min(found.items(), key=lambda one: self._ready_at(one[1])) if found else None

    def _ready_at(self, pid: int) -> float:
        return (self.world.ready / str(pid)).stat().st_mtime if (self.world.ready / str(pid)).exists() else 0.0

    def _kill(self, strike: Strike) -> bool:
        target = self._target(strike.target)
        if target is None:
            return False
        self.kills.append(Kill(*target, self.fleet.kill(target[1])))
        self._note(f"{target[0]} killed (pid {target[1]})")
        return True

    def _freeze(self, strike: Strike) -> bool:
        target = self._target(strike.target)
        if target is None:
            return False
        name, pid = target
        self.fleet.freeze(pid)
        self._note(f"{name} frozen for {strike.seconds} s")
        self._last(f"{name} frozen", strike.seconds, lambda: self.fleet.thaw(pid), "infer ")
        return True

    def _cut_connections(self, _: Strike) -> bool:
        if not self._is_broker_up:
            return False
        self._note(f"{self.broker.cut_connections()} broker connections cut")
        return True

    def _restart_broker(self, strike: Strike) -> bool:
        if not self._is_broker_up:
            return False
        self._is_broker_up = False
        self.broker.kill()
        self._note(f"broker killed for {strike.seconds} s")
        self._last("broker away", strike.seconds, self._broker_back)
        return True

    def _broker_back(self) -> None:
        self.broker.restart()
        self.watch.may_count_again()
        self._is_broker_up = True

    def _wipe(self, _: Strike) -> bool:
        if not self._is_broker_up:
            return False
        at = time.monotonic()
        self.broker.wipe()
        self.watch.may_count_again()
        self._note("broker wiped, run submitted again")
        self.submit()
        self.outages.append(Outage("broker wiped", at, time.monotonic()))
        return True

    def _fill_disk(self, strike: Strike) -> bool:
        fill_disk(self.world, strike.target)
        self._note(f"disk of {strike.target} full for {strike.seconds} s")
        self._after(strike.seconds, lambda: empty_disk(self.world, strike.target))
        return True

    def _hide_output(self, strike: Strike) -> bool:
        order = self.world.orders / "output-away"
        order.touch()
        self._note(f"output away for {strike.seconds} s")
        self._after(strike.seconds, lambda: order.unlink(missing_ok=True))
        return True

    def _lose_reply(self, strike: Strike) -> bool:
        (self.world.orders / f"lose-reply-{strike.at_row}-{self.done[Fault.LOST_REPLY]}").touch()
        self._note("the next commit's reply is lost")
        return True

    def _after(self, seconds: float, end: Callable[[], None]) -> None:
        self._ends.append((time.monotonic() + seconds, end))

    def _last(self, why: str, seconds: float, end: Callable[[], None], steps: str = "") -> None:
        begin = time.monotonic()

        def over() -> None:
            end()
            self.outages.append(Outage(why, begin, time.monotonic(), steps))

        self._after(seconds, over)
