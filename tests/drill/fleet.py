"""The fleet of a drill: the real processes of two nodes under tamis's supervisor."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace

from tasks.node.processes import TAMIS, ProcessSpec, node_processes
from tasks.node.supervise import SupervisedProcess, Supervisor
from tasks.settings import Settings
from tests.drill.redelivery import Absence
from tests.drill.world import DrillWorld

APP = "tests.drill.app"
RESTART_SECONDS = 0.2
DRAIN_SECONDS = 40.0
STEPS_OF = {"io": "download ", "gpu0": "infer ", "results": "write "}


def node_specs(world: DrillWorld, node: str, environment: Mapping[str, str], **more: str) -> list[ProcessSpec]:
    """Return the node's processes as `tamis up` starts them, but with the drill's app and with ``more`` settings."""
    own = {"TAMIS_NODE": node, "TAMIS_SPOOL_DIR": str(world.spool(node)), **more}
    settings = Settings.from_env({**environment, **own})
    return [
        replace(
            spec,
            name=f"{spec.name}@{node}",
            argv=(sys.executable, "-m", "tasks", "-A", APP, *spec.argv[len(TAMIS) :]),
            variables={**spec.variables, **own},
        )
        for spec in node_processes(settings, [])
    ]


@dataclass
class DrillFleet:
    """Running processes, by name: ``io@n1``, ``gpu0@n2``, ``beat@n1`` …"""

    world: DrillWorld
    specs: list[ProcessSpec]
    said: list[str] = field(default_factory=list)
    deaths: dict[int, float] = field(default_factory=dict)  # monotonic time of each noticed death, by pid
    _frozen: set[int] = field(default_factory=set)
    _seen: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.supervisor = Supervisor(
            self.specs, self.world.state / "log", self.said.append, longest_restart_seconds=RESTART_SECONDS
        )
        self._thread = threading.Thread(target=self.supervisor.run, args=(DRAIN_SECONDS,), name="supervisor")

    def start(self) -> None:
        """Start all processes."""
        self._thread.start()

    def pids(self) -> dict[str, int]:
        """Return the living processes by name; note those that have ended since the last call."""
        living = {child.spec.name: pid for child in self.supervisor.children if (pid := _pid(child)) is not None}
        for name, pid in self._seen.items():
            if living.get(name) != pid:
                self.deaths.setdefault(pid, time.monotonic())
        self._seen = dict(living)
        return living

    def targets(self, role: str) -> dict[str, int]:
        """Return working processes of a role, not starting or frozen; of every role but beat if ``role`` is empty."""
        return {
            name: pid
            for name, pid in self.pids().items()
            if name.startswith(f"{role}@" if role else ("io@", "gpu0@", "results@"))
            if pid not in self._frozen and (name.startswith("beat@") or (self.world.ready / str(pid)).exists())
        }

    def is_up(self) -> bool:
        """Return whether every process works."""
        return sum(len(self.targets(role)) for role in ("", "beat")) == len(self.specs)

    def kill(self, pid: int) -> float:
        """Send SIGKILL; return the monotonic time."""
        at = time.monotonic()
        os.kill(pid, signal.SIGKILL)
        self.deaths[pid] = at
        return at

    def freeze(self, pid: int) -> None:
        """Stop the process with SIGSTOP, as a page fault or a hypervisor can."""
        self._frozen.add(pid)
        os.kill(pid, signal.SIGSTOP)

    def thaw(self, pid: int) -> None:
        """End :meth:`freeze`."""
        self._frozen.discard(pid)
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)

    def stop(self) -> list[str]:
        """Stop all processes; return the announcements about those that had to be killed."""
        for pid in list(self._frozen):
            self.thaw(pid)
        self.supervisor.stop.set()
        if self._thread.is_alive():
            self._thread.join()
        return [said for said in self.said if "had not drained" in said]


def _pid(child: SupervisedProcess) -> int | None:
    process = child.process  # read once: the supervisor's thread may replace it
    return process.pid if process is not None and process.poll() is None else None


@dataclass
class AbsenceRecorder:
    """Checks whether each role has a worker, and records the times without one."""

    fleet: DrillFleet
    absences: list[Absence] = field(default_factory=list)
    _since: dict[str, float] = field(default_factory=dict)

    def check(self) -> None:
        """Record the changes since the last check."""
        now = time.monotonic()
        for role, steps in STEPS_OF.items():
            if not self.fleet.targets(role):
                self._since.setdefault(role, now)
            elif role in self._since:
                self.absences.append(Absence(self._since.pop(role), now, steps))
