"""A temporary fleet: `tamis up` as a child process, drained at the end; one at a time in a state directory."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from storage.errors import Unavailable
from storage.ledger import Ledger
from tasks.broker.questions import ask_workers
from tasks.node.parent_death import ending_with_parent
from tasks.node.processes import TAMIS
from tasks.resources.redis import ledger_client
from tasks.settings import Settings
from tasks.settings.environment import child_environ

PING_SECONDS = 1.0
START_SECONDS = 120.0  # until the broker answers; models warm up after that
POLL_SECONDS = 0.2
LOG_LINES = 5
OWN_TIERS = ("CPFS_ROOT", "CPFS_FILL", "ALLUXIO_ROOT", "ALLUXIO_URL", "OSS_ENDPOINT", "OBJECT_ROOT", "OSS_BUCKETS")
"""Settings that a fleet for local videos does not take over from the caller."""


class FleetFailed(Exception):
    """The temporary fleet ended before it was up; the message has the end of its log."""


def answers(settings: Settings) -> bool:
    """Return whether a worker of a fleet answers at the broker of the settings."""
    from tasks.celery import app

    try:
        Ledger(ledger_client(settings, patience_seconds=0.5)).runs()
    except Unavailable:
        return False
    return bool(ask_workers(app, "ping", PING_SECONDS))


@contextmanager
def alone(state_dir: Path, on_wait: Callable[[str], object]) -> Iterator[None]:
    """Hold the lock on temporary fleets of a state directory; ``on_wait`` gets the pid of the process waited for."""
    state_dir.mkdir(parents=True, exist_ok=True)
    with (state_dir / "sift.lock").open("a+", encoding="ascii") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            on_wait(lock.read().strip() or "unknown")
            fcntl.flock(lock, fcntl.LOCK_EX)
        lock.truncate(0)
        lock.write(f"{os.getpid()}\n")
        lock.flush()
        yield


@contextmanager
def temporary_fleet(settings: Settings, changes: Mapping[str, str], on_drain: Callable[[], object]) -> Iterator[None]:
    """Run `tamis up` for the block, with ``changes`` to the settings, and drain it after that, also after Ctrl-C.

    Its output goes to ``log/up.log`` in the state directory. Raises :class:`FleetFailed` if it does not come up.
    """
    log = settings.node.state_dir / "log" / "up.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    left_out = OWN_TIERS if "OBJECT_ROOT" in changes else ()
    environ = child_environ(
        *(f"TAMIS_{name}" for name in left_out),
        TAMIS_STATE_DIR=str(settings.node.state_dir),
        **{f"TAMIS_{name}": value for name, value in changes.items()},
    )
    with log.open("wb") as output:
        process = subprocess.Popen(
            ending_with_parent([*TAMIS, "up"]),
            env=environ,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # a terminal's Ctrl-C reaches this process, which drains the fleet
        )
    try:
        _wait_until_up(process, settings, log)
        yield
    finally:
        if process.poll() is None:
            on_drain()
        drain(process)


def drain(process: subprocess.Popen[bytes]) -> None:
    """Ask `tamis up` to drain and wait for it; a further Ctrl-C stops it at once."""
    while process.poll() is None:
        process.send_signal(signal.SIGTERM)
        with suppress(KeyboardInterrupt):
            process.wait()


@contextmanager
def ended_gently() -> Iterator[None]:
    """Treat TERM and the end of the terminal like Ctrl-C for the length of the block; what nohup ignores stays so."""
    heard = [number for number in (signal.SIGTERM, signal.SIGHUP) if signal.getsignal(number) is not signal.SIG_IGN]
    former = {number: signal.signal(number, signal.default_int_handler) for number in heard}
    try:
        yield
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)


def _wait_until_up(process: subprocess.Popen[bytes], settings: Settings, log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    ledger = Ledger(ledger_client(settings, patience_seconds=0.5))
    while True:
        if process.poll() is not None or time.monotonic() > deadline:
            end = "; ".join(log.read_text(encoding="utf-8", errors="replace").strip().splitlines()[-LOG_LINES:])
            msg = f"the temporary fleet did not start: {end or 'it said nothing'} (see {log})"
            raise FleetFailed(msg)
        with suppress(Unavailable):
            ledger.runs()
            return
        time.sleep(POLL_SECONDS)
