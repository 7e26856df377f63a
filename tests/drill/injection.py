"""Injection of the planned faults. A fault is due when a number of rows is done, however long that takes."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from storage.errors import Unavailable
from tests.drill.brokers import Broker
from tests.drill.fleet import DrillFleet
from tests.drill.invariants import Invariants
from tests.drill.plan import FleetFault, PlannedFault
from tests.drill.redelivery import Kill, Outage
from tests.drill.tables import OdpsTables
from tests.drill.world import DrillWorld, empty_disk, fill_disk

RESUME_SECONDS = 0.5  # between tries to end a pause or a cancellation while the broker is away
TARGET_WAIT_SECONDS = 10.0  # for a worker of the planned role; after that a worker of any role is taken


@dataclass
class FaultInjector:
    """Injects faults that are due, ends those that are over, and keeps what was done."""

    world: DrillWorld
    broker: Broker
    fleet: DrillFleet
    invariants: Invariants
    submit: Callable[[], None]
    has_disks: bool
    tables: OdpsTables
    done: Counter[FleetFault] = field(default_factory=Counter)
    kills: list[Kill] = field(default_factory=list)
    outages: list[Outage] = field(default_factory=list)
    story: list[str] = field(default_factory=list)
    waiting: list[PlannedFault] = field(default_factory=list)
    _due_at: float | None = None
    _is_broker_up: bool = True
    _ends: list[tuple[float, Callable[[], None]]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._started = time.monotonic()
        self.waiting = [
            planned for planned in self.world.plan.faults if self.has_disks or planned.fault is not FleetFault.DISK_FULL
        ]
        self._act: dict[FleetFault, Callable[[PlannedFault], bool]] = {
            FleetFault.KILL: self._kill,
            FleetFault.CUT_CONNECTIONS: self._cut_connections,
            FleetFault.BROKER_RESTART: self._restart_broker,
            FleetFault.WIPE: self._wipe,
            FleetFault.FREEZE: self._freeze,
            FleetFault.DISK_FULL: self._fill_disk,
            FleetFault.OUTPUT_AWAY: self._hide_output,
            FleetFault.LOST_REPLY: self._lose_reply,
            FleetFault.OTHER_RUN: self._write_other_run,
            FleetFault.INPUT_REWRITTEN: self._rewrite_input,
            FleetFault.PAUSE: self._pause,
            FleetFault.CANCEL: self._cancel,
        }

    @property
    def left(self) -> int:
        """Return the number of faults that are still to come or not over yet."""
        return len(self.waiting) + len(self._ends)

    def step(self) -> None:
        """End faults that are over, and begin those that are due."""
        now = time.monotonic()
        over = [end for end in self._ends if end[0] <= now]
        self._ends = [end for end in self._ends if end[0] > now]
        for _, end in over:
            end()
        while self.waiting and self.invariants.done_rows >= self.waiting[0].at_row and self._is_time(self.waiting[0]):
            if not self._act[self.waiting[0].fault](self.waiting[0]):
                return
            self.done[self.waiting.pop(0).fault] += 1
            self._due_at = None

    def end_all(self) -> None:
        """End every fault that is not over yet."""
        for _, end in self._ends:
            end()
        self._ends.clear()

    def _is_time(self, planned: PlannedFault) -> bool:
        now = time.monotonic()
        self._due_at = self._due_at or now + planned.delay_seconds
        return now >= self._due_at

    def _note(self, said: str) -> None:
        self.story.append(f"{time.monotonic() - self._started:7.2f} s  {self.invariants.done_rows:6d} rows  {said}")

    def _target(self, role: str) -> tuple[str, int] | None:
        """Return the oldest process of this role; one of another role when none starts in time."""
        found = self.fleet.targets(role)
        if not found and self._due_at is not None and time.monotonic() > self._due_at + TARGET_WAIT_SECONDS:
            found = self.fleet.targets("")
        return min(found.items(), key=lambda one: self._ready_at(one[1])) if found else None

    def _ready_at(self, pid: int) -> float:
        return (self.world.ready / str(pid)).stat().st_mtime if (self.world.ready / str(pid)).exists() else 0.0

    def _kill(self, planned: PlannedFault) -> bool:
        target = self._target(planned.target)
        if target is None:
            return False
        self.kills.append(Kill(*target, self.fleet.kill(target[1])))
        self._note(f"{target[0]} killed (pid {target[1]})")
        return True

    def _freeze(self, planned: PlannedFault) -> bool:
        target = self._target(planned.target)
        if target is None:
            return False
        name, pid = target
        self.fleet.freeze(pid)
        self._note(f"{name} frozen for {planned.seconds} s")
        self._last(f"{name} frozen", planned.seconds, lambda: self.fleet.thaw(pid), "infer ")
        return True

    def _cut_connections(self, _: PlannedFault) -> bool:
        if not self._is_broker_up:
            return False
        self._note(f"{self.broker.cut_connections()} broker connections cut")
        return True

    def _restart_broker(self, planned: PlannedFault) -> bool:
        if not self._is_broker_up:
            return False
        self._is_broker_up = False
        self.broker.kill()
        self._note(f"broker killed for {planned.seconds} s")
        self._last("broker away", planned.seconds, self._broker_back)
        return True

    def _broker_back(self) -> None:
        self.broker.restart()
        self.invariants.may_count_again()
        self._is_broker_up = True

    def _wipe(self, _: PlannedFault) -> bool:
        if not self._is_broker_up:
            return False
        at = time.monotonic()
        self.broker.wipe()
        self.invariants.may_count_again()
        self._note("broker wiped, run submitted again")
        self.submit()
        self.outages.append(Outage("broker wiped", at, time.monotonic()))
        return True

    def _fill_disk(self, planned: PlannedFault) -> bool:
        fill_disk(self.world, planned.target)
        self._note(f"disk of {planned.target} full for {planned.seconds} s")
        self._after(planned.seconds, lambda: empty_disk(self.world, planned.target))
        return True

    def _hide_output(self, planned: PlannedFault) -> bool:
        order = self.world.orders / "output-away"
        order.touch()
        self._note(f"output away for {planned.seconds} s")
        self._after(planned.seconds, lambda: order.unlink(missing_ok=True))
        return True

    def _lose_reply(self, planned: PlannedFault) -> bool:
        (self.world.orders / f"lose-reply-{planned.at_row}-{self.done[FleetFault.LOST_REPLY]}").touch()
        self._note("the next commit's reply is lost")
        return True

    def _write_other_run(self, _: PlannedFault) -> bool:
        self.tables.write_other_run(self.world)
        self._note("another run has written a batch into the output partition")
        return True

    def _rewrite_input(self, planned: PlannedFault) -> bool:
        self.tables.rewrite_input(planned.at_row)
        self._note(f"input rewritten in another order for {planned.seconds} s")
        self._last("input rewritten", planned.seconds, self.tables.restore_input)
        return True

    def _pause(self, planned: PlannedFault) -> bool:
        if not self._obeyed(self.invariants.ledger.orders.pause):
            return False
        self._note(f"run paused for {planned.seconds} s")
        self._last("run paused", planned.seconds, self._resume)
        return True

    def _resume(self) -> None:
        if not self._obeyed(self.invariants.ledger.orders.resume):
            self._after(RESUME_SECONDS, self._resume)

    def _cancel(self, planned: PlannedFault) -> bool:
        if not self._obeyed(self.invariants.ledger.orders.cancel):
            return False
        self._note(f"run cancelled, submitted again after {planned.seconds} s")
        self._last("run cancelled", planned.seconds, self._submit_again)
        return True

    def _submit_again(self) -> None:
        if not self._is_broker_up:
            self._after(RESUME_SECONDS, self._submit_again)
            return
        self.submit()
        self.invariants.may_count_again()

    def _obeyed(self, give: Callable[[str], object]) -> bool:
        """Give the run an order; return False while the broker is away."""
        if not self._is_broker_up:
            return False
        try:
            give(self.invariants.run_id)
        except Unavailable:
            return False
        return True

    def _after(self, seconds: float, end: Callable[[], None]) -> None:
        self._ends.append((time.monotonic() + seconds, end))

    def _last(self, why: str, seconds: float, end: Callable[[], None], steps: str = "") -> None:
        begin = time.monotonic()

        def over() -> None:
            end()
            self.outages.append(Outage(why, begin, time.monotonic(), steps))

        self._after(seconds, over)
