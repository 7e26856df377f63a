"""Checks of this host against the fleet: its clock, and the uniqueness of its node name and worker name.

kombu compares delivery times of different hosts: a host whose clock is off by the visibility timeout returns messages
that other workers still hold to their queues, and their work is done twice.
"""

from __future__ import annotations

import logging
import os
import secrets
import signal
import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from storage.errors import Unavailable, UsageError
from storage.ledger import HostReports, HostWarning
from tasks.settings import Settings
from tasks.worker.ticker import start_ticker

logger = logging.getLogger(__name__)

WARN_SECONDS = 1.0
REFUSED_SHARE = 0.5  # of the visibility timeout
CHECK_SECONDS = 5.0
CHECKS_PER_LOG = 12
SYNCHRONISE = "synchronise the clocks of all hosts (chrony or systemd-timesyncd)"
RENAME = "give every machine a TAMIS_NODE of its own, and every worker of a machine a --hostname of its own"
BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


def clock_text(offset_seconds: float) -> str:
    """Describe the offset of a clock."""
    side = "ahead of" if offset_seconds > 0 else "behind"
    return f"its clock is {abs(offset_seconds):.1f} s {side} the ledger's server"


def end_worker() -> None:
    """Finish running tasks and end; a supervisor starts a new process, which checks the clock first."""
    os.kill(os.getpid(), signal.SIGTERM)


@dataclass(slots=True)
class HostChecks:
    """The checks of one worker. ``machine`` differs between machines, ``process`` between processes."""

    hosts: HostReports
    settings: Settings
    worker: str
    end: Callable[[], None] = end_worker
    machine: str = field(default_factory=lambda: BOOT_ID.read_text(encoding="ascii").strip())
    process: str = field(default_factory=lambda: f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(4)}")
    _runs: int = 0
    _is_ending: bool = False

    def check_start(self) -> None:
        """Raise ``UsageError`` if the clock is off by so much that messages would be delivered twice.

        A server that does not answer is not waited for: the later checks end the worker.
        """
        try:
            offset_seconds = self.hosts.clock_offset_seconds()
        except Unavailable:
            return
        if self._is_refused(offset_seconds):
            limit = f"the limit is {self._limit_seconds:g} s, half of TAMIS_VISIBILITY_TIMEOUT_SECONDS"
            raise UsageError(f"{self.worker} takes no messages: {clock_text(offset_seconds)}; {limit}; {SYNCHRONISE}")

    def run(self) -> None:
        """Check clock and names once; warn in the log and in the ledger, or end the worker."""
        try:
            warnings = [*self._clock_warnings(), *self._name_warnings()]
            for warning in warnings:
                self.hosts.warn(warning)
        except Unavailable:
            return  # the presence reports log this
        if self._runs % CHECKS_PER_LOG == 0 or self._runs < 2:  # a name conflict is seen from the second check on
            for warning in warnings:
                logger.warning("%s: %s; %s", warning.name, warning.text, warning.remedy)
        self._runs += 1

    @property
    def _limit_seconds(self) -> float:
        return REFUSED_SHARE * self.settings.broker.visibility_timeout_seconds

    def _is_refused(self, offset_seconds: float) -> bool:
        return not self.settings.broker.is_rabbitmq and abs(offset_seconds) > self._limit_seconds

    def _clock_warnings(self) -> list[HostWarning]:
        offset_seconds = self.hosts.clock_offset_seconds()
        if self._is_refused(offset_seconds) and not self._is_ending:
            self._is_ending = True
            logger.critical("%s ends: %s; %s", self.worker, clock_text(offset_seconds), SYNCHRONISE)
            self.end()
        is_off = abs(offset_seconds) > WARN_SECONDS
        return [HostWarning(self.worker, clock_text(offset_seconds), SYNCHRONISE)] if is_off else []

    def _name_warnings(self) -> list[HostWarning]:
        node = self.settings.node.name
        found = []
        if self.hosts.claim(f"node:{node}", self.machine):
            found.append(HostWarning(node, "another machine uses this node name", RENAME))
        for other in self.hosts.claim(f"worker:{self.worker}", self.process):
            host, pid, _ = other.split(":")
            text = f"another worker uses this name: process {pid} on {host}"
            found.append(HostWarning(self.worker, text, RENAME))
        return found


def start_host_checks(checks: HostChecks) -> threading.Event:
    """Check now and every few seconds, until the returned event is set."""
    checks.run()
    return start_ticker("host-checks", CHECK_SECONDS, checks.run)


def start_announcements(hosts: HostReports, node: str, announce: Callable[[str], None]) -> threading.Event:
    """Pass each new warning about the node or one of its workers to ``announce``, until the returned event is set."""
    announced: set[tuple[str, str]] = set()

    def tick() -> None:
        with suppress(Unavailable):
            for warning in hosts.warnings():
                key = (warning.name, warning.remedy)  # the text of a clock's offset changes
                if key not in announced and (warning.name == node or warning.name.endswith(f"@{node}")):
                    announced.add(key)
                    announce(f"warning: {warning.name}: {warning.text}; {warning.remedy}")

    tick()
    return start_ticker("host-warnings", CHECK_SECONDS, tick)
