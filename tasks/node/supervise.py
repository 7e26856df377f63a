"""Keep a node's processes alive: start them, restart what dies, end them in order."""

from __future__ import annotations

import logging
import signal
import subprocess
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from tasks.node.lifeline import tied
from tasks.node.processes import ProcessSpec
from tasks.settings import child_environ

log = logging.getLogger(__name__)

POLL_SECONDS = 0.2
FIRST_RESTART_SECONDS = 1.0
LONGEST_RESTART_SECONDS = 30.0
STEADY_SECONDS = 60.0  # alive this long, a process has earned a quick restart again


@dataclass(slots=True)
class Child:
    """A process under supervision and when it may be started again."""

    spec: ProcessSpec
    log_path: Path
    process: subprocess.Popen[bytes] | None = None
    started_seconds: float = 0.0
    wait_seconds: float = FIRST_RESTART_SECONDS
    due_seconds: float = 0.0

    def start(self) -> None:
        """Start the process in a session of its own: a terminal's Ctrl-C reaches us alone, and we end it in order."""
        with self.log_path.open("ab") as output:
            self.process = subprocess.Popen(
                tied(self.spec.argv),
                env=child_environ(**self.spec.variables),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self.started_seconds = time.monotonic()

    @property
    def is_alive(self) -> bool:
        """Whether the process runs."""
        return self.process is not None and self.process.poll() is None


@dataclass(slots=True)
class Supervisor:
    """The node's processes; ``announce`` tells the operator what happens."""

    specs: list[ProcessSpec]
    log_dir: Path
    announce: Callable[[str], None]
    longest_restart_seconds: float = LONGEST_RESTART_SECONDS
    children: list[Child] = field(default_factory=list)
    stop: threading.Event = field(default_factory=threading.Event)
    hurry: threading.Event = field(default_factory=threading.Event)

    def run(self, drain_seconds: float) -> None:
        """Start everything and keep it alive until :attr:`stop` is set; then drain."""
        self.log_dir.mkdir(parents=True, exist_ok=True)
        self.children = [Child(spec, self.log_dir / f"{spec.name}.log") for spec in self.specs]
        for child in self.children:
            child.start()
        while not self.stop.wait(POLL_SECONDS):
            for child in self.children:
                self._revive(child)
        self.drain(drain_seconds)

    def _revive(self, child: Child) -> None:
        now = time.monotonic()
        if child.is_alive:
            return
        if child.process is not None:
            self._bury(child, now)
        if now >= child.due_seconds:
            child.start()

    def _bury(self, child: Child, now: float) -> None:
        """Note a death once, and say when the process comes back: later each time it dies young."""
        lived = now - child.started_seconds
        code = child.process.returncode if child.process else None
        child.wait_seconds = (
            FIRST_RESTART_SECONDS
            if lived > STEADY_SECONDS
            else min(self.longest_restart_seconds, child.wait_seconds * 2)
        )
        child.due_seconds, child.process = now + child.wait_seconds, None
        self.announce(
            f"{child.spec.name} ended ({describe_exit(code)}) after {lived:.0f} s: "
            f"again in {child.wait_seconds:g} s; see {child.log_path}"
        )

    def drain(self, drain_seconds: float) -> None:
        """Ask everything to finish its work and go; whoever has not gone when the time is up is killed.

        Nothing is lost by the kill: unfinished messages are delivered again when the fleet is back.
        """
        living = [child for child in reversed(self.children) if child.is_alive]  # beat and results first to hear of it
        for child in living:
            _signal(child, signal.SIGTERM)
        deadline = time.monotonic() + drain_seconds
        while any(child.is_alive for child in living) and time.monotonic() < deadline and not self.hurry.is_set():
            time.sleep(POLL_SECONDS)
        for child in living:
            if child.is_alive:
                self.announce(f"{child.spec.name} had not drained yet: killed, its work comes back")
                _signal(child, signal.SIGKILL)
        for child in living:
            if child.process is not None:
                child.process.wait()


def describe_exit(code: int | None) -> str:
    """Return ``signal SIGKILL`` or ``status 70``."""
    if code is not None and code < 0:
        return f"signal {signal.Signals(-code).name}"
    return f"status {code}"


def _signal(child: Child, number: signal.Signals) -> None:
    if child.process is not None and child.is_alive:
        child.process.send_signal(number)
