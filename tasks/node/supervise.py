"""Supervision of a node's processes: start them, restart those that die, end them in order."""

from __future__ import annotations

import logging
import signal
import subprocess
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from tasks.node.log_files import rotate
from tasks.node.parent_death import ending_with_parent
from tasks.node.processes import ProcessSpec
from tasks.settings import child_environ

log = logging.getLogger(__name__)

POLL_SECONDS = 0.2
FIRST_RESTART_SECONDS = 1.0
LONGEST_RESTART_SECONDS = 30.0
STEADY_SECONDS = 60.0  # a process that ran for longer is restarted after the first wait again


@dataclass(slots=True)
class SupervisedProcess:
    """A supervised process and the time of its next start. Times are monotonic seconds."""

    spec: ProcessSpec
    log_path: Path
    process: subprocess.Popen[bytes] | None = None
    started_seconds: float = 0.0
    wait_seconds: float = FIRST_RESTART_SECONDS
    due_seconds: float = 0.0

    def start(self) -> None:
        """Start the process in a session of its own: a terminal's Ctrl-C reaches only the supervisor, which ends it."""
        with self.log_path.open("ab") as output:
            self.process = subprocess.Popen(
                ending_with_parent(self.spec.argv),
                env=child_environ(**self.spec.variables),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self.started_seconds = time.monotonic()

    @property
    def is_alive(self) -> bool:
        """True while the process runs."""
        return self.process is not None and self.process.poll() is None


@dataclass(slots=True)
class Supervisor:
    """The node's processes; ``announce`` gets one line for each event, for the operator."""

    specs: list[ProcessSpec]
    log_dir: Path
    announce: Callable[[str], None]
    longest_restart_seconds: float = LONGEST_RESTART_SECONDS
    children: list[SupervisedProcess] = field(default_factory=list)
    stop: threading.Event = field(default_factory=threading.Event)
    kill_now: threading.Event = field(default_factory=threading.Event)

    def run(self, drain_seconds: float) -> None:
        """Start all processes and keep them alive until :attr:`stop` is set; then end them."""
        self.log_dir.mkdir(parents=True, exist_ok=True)
        self.children = [SupervisedProcess(spec, self.log_dir / f"{spec.name}.log") for spec in self.specs]
        for child in self.children:
            child.start()
        while not self.stop.wait(POLL_SECONDS):
            for child in self.children:
                self._restart_if_due(child)
                _rotate(child.log_path)
        self.end_all(drain_seconds)

    def _restart_if_due(self, child: SupervisedProcess) -> None:
        now = time.monotonic()
        if child.is_alive:
            return
        if child.process is not None:
            self._note_exit(child, now)
        if now >= child.due_seconds:
            child.start()

    def _note_exit(self, child: SupervisedProcess, now: float) -> None:
        """Announce the exit and set the time of the restart: the wait doubles when the process ended early."""
        ran_seconds = now - child.started_seconds
        code = child.process.returncode if child.process else None
        child.wait_seconds = (
            FIRST_RESTART_SECONDS
            if ran_seconds > STEADY_SECONDS
            else min(self.longest_restart_seconds, child.wait_seconds * 2)
        )
        child.due_seconds, child.process = now + child.wait_seconds, None
        self.announce(
            f"{child.spec.name} ended ({describe_exit(code)}) after {ran_seconds:.0f} s: "
            f"again in {child.wait_seconds:g} s; see {child.log_path}"
        )

    def end_all(self, drain_seconds: float) -> None:
        """Send SIGTERM, so that workers drain and end; kill those that still run after ``drain_seconds``.

        A kill loses nothing: unfinished messages are delivered again.
        """
        living = [child for child in reversed(self.children) if child.is_alive]  # beat and results end first
        for child in living:
            _signal(child, signal.SIGTERM)
        deadline = time.monotonic() + drain_seconds
        while any(child.is_alive for child in living) and time.monotonic() < deadline and not self.kill_now.is_set():
            time.sleep(POLL_SECONDS)
        for child in living:
            if child.is_alive:
                self.announce(f"{child.spec.name} had not drained yet: killed; its messages are delivered again")
                _signal(child, signal.SIGKILL)
        for child in living:
            if child.process is not None:
                child.process.wait()


def _rotate(path: Path) -> None:
    try:
        rotate(path)
    except OSError as error:  # a full disk must not end the fleet
        log.warning("the log %s is not rotated: %s", path, error)


def describe_exit(code: int | None) -> str:
    """Return ``signal SIGKILL`` or ``status 70``."""
    if code is not None and code < 0:
        return f"signal {signal.Signals(-code).name}"
    return f"status {code}"


def _signal(child: SupervisedProcess, number: signal.Signals) -> None:
    if child.process is not None and child.is_alive:
        child.process.send_signal(number)
