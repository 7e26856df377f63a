"""The fleet under fire: two nodes' real processes under tamis's own supervisor."""

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
from tests.drill.world import World

APP = "tests.drill.app"
RESTART_SECONDS = 0.2
DRAIN_SECONDS = 40.0


def node_specs(world: World, node: str, environment: Mapping[str, str], **more: str) -> list[ProcessSpec]:
    """The node's processes as `tamis up` would start them, but of the drill's app, and with ``more`` settings."""
    own = {"TAMIS_NODE": node, "TAMIS_SPOOL_DIR": str(world.spool(node)), **more}
    settings = Settings.from_env({**environment, **own})
    return [
        replace(
            spec,
            name=f"{spec.name}@{node}",
            argv=(sys.executable, "-m", "celery", "-A", APP, *spec.argv[len(TAMIS) :]),
            variables={**spec.variables, **own},
        )
        for spec in node_processes(settings, [])
    ]


@dataclass
class Fleet:
    """Running processes, by name: ``io@n1``, ``gpu0@n2``, ``beat@n1`` …"""

    world: World
    specs: list[ProcessSpec]
    said: list[str] = field(default_factory=list)
    deaths: dict[int, float] = field(default_factory=dict)  # pid -> when we knew of it
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
        """The processes that live now; notes who of the earlier ones does not."""
        living = {child.spec.name: pid for child in self.supervisor.children if (pid := _pid(child)) is not None}
        for name, pid in self._seen.items():
            if living.get(name) != pid:
                self.deaths.setdefault(pid, time.monotonic())
        self._seen = dict(living)
        return living

    def targets(self, role: str) -> dict[str, int]:
        """Processes of a role that work: consuming and not frozen. Of any role but beat, if the role is empty."""
        return {
            name: pid
            for name, pid in self.pids().items()
            if name.startswith(f"{role}@" if role else ("io@", "gpu0@", "results@"))
            if pid not in self._frozen and (name.startswith("beat@") or (self.world.ready / str(pid)).exists())
        }

    def is_up(self) -> bool:
        """Whether every process works."""
        return sum(len(self.targets(role)) for role in ("", "beat")) == len(self.specs)

    def kill(self, pid: int) -> float:
        """``kill -9``; return when."""
        at = time.monotonic()
        os.kill(pid, signal.SIGKILL)
        self.deaths[pid] = at
        return at

    def freeze(self, pid: int) -> None:
        """Stop the process where it stands, as a page fault or a hypervisor would."""
        self._frozen.add(pid)
        os.kill(pid, signal.SIGSTOP)

    def thaw(self, pid: int) -> None:
        """End :meth:`freeze`."""
        self._frozen.discard(pid)
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)

    def stop(self) -> list[str]:
        """Drain; return the names of those that had to be killed."""
        for pid in list(self._frozen):
            self.thaw(pid)
        self.supervisor.stop.set()
        if self._thread.is_alive():
            self._thread.join()
        return [said for said in self.said if "had not drained" in said]


def _pid(child: SupervisedProcess) -> int | None:
    process = child.process  # the supervisor's thread may put another one there
    return process.pid if process is not None and process.poll() is None else None
