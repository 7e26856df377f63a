"""One decoder child as its parent sees it: started, asked, killed."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from inference.decode.options import DecodeLimits
from inference.decode.processes import wire

_IMPORT_ROOT = Path(__file__).resolve().parents[3]
_STDERR_TAIL_BYTES = 2000
# Nothing of the parent's environment: no secrets near hostile files. OpenBLAS would start a thread per core.
_ENVIRONMENT = {
    "PATH": os.defpath,  # decord appends to it when imported
    "PYTHONPATH": str(_IMPORT_ROOT),
    "PYTHONNOUSERSITE": "1",
    "LC_ALL": "C.UTF-8",
    "OPENBLAS_NUM_THREADS": "1",
    "OMP_NUM_THREADS": "1",
}


@dataclass(slots=True)
class Child:
    """A live decoder child. The caller must :func:`end` it."""

    running: subprocess.Popen[bytes]
    connection: socket.socket
    stderr_descriptor: int
    videos_served: int = 0

    @property
    def pid(self) -> int:
        """Process id."""
        return self.running.pid

    @property
    def is_alive(self) -> bool:
        """Whether it still runs."""
        return self.running.poll() is None


def start(decoder: str, limits: DecodeLimits, environ: Mapping[str, str]) -> Child:
    """Start a child with those variables beside the few of its own; it says ``ready`` when it can be asked.

    PR_SET_PDEATHSIG fires when the *thread* that started the child ends: call this from one that lives as
    long as the child may.
    """
    ours, theirs = socket.socketpair()
    stderr_descriptor = os.memfd_create("tamis-decoder-stderr", os.MFD_CLOEXEC)
    command = [sys.executable, "-P", "-X", "faulthandler", "-m", "inference.decode.processes.child"]
    command += [str(theirs.fileno()), str(os.getpid()), decoder, json.dumps(asdict(limits))]
    try:
        running = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=stderr_descriptor,
            env={**environ, **_ENVIRONMENT},
            pass_fds=(theirs.fileno(),),
            start_new_session=True,  # Ctrl-C in the terminal is the parent's to handle
        )
    except BaseException:
        ours.close()
        os.close(stderr_descriptor)
        raise
    finally:
        theirs.close()
    return Child(running, ours, stderr_descriptor)


def ask(
    child: Child, request: Mapping[str, Any], timeout_seconds: float, descriptor: int | None = None
) -> tuple[dict[str, Any], int | None]:
    """Put one request, with a file to write to if need be, and wait for its reply.

    Raises ``PeerGoneError``, ``DeadlineError``.
    """
    child.videos_served += 1
    os.ftruncate(child.stderr_descriptor, 0)  # what it says from now on is about this video
    os.lseek(child.stderr_descriptor, 0, os.SEEK_SET)
    wire.send(child.connection, request, descriptor)
    return await_reply(child, timeout_seconds)


def await_reply(child: Child, timeout_seconds: float) -> tuple[dict[str, Any], int | None]:
    """Wait for one message. Raises ``PeerGoneError``, ``DeadlineError``."""
    return wire.receive(child.connection, time.monotonic() + timeout_seconds)


def end(child: Child, grace_seconds: float = 0.0) -> str:
    """Reap it, killing it after the grace, free what it held, and say how it ended."""
    child.connection.close()
    with suppress(subprocess.TimeoutExpired):
        child.running.wait(grace_seconds)
    child.running.kill()
    exit_status = child.running.wait()
    stderr_tail = _tail(child.stderr_descriptor)
    os.close(child.stderr_descriptor)
    return _describe(exit_status, stderr_tail)


def _tail(descriptor: int) -> str:
    size_bytes = os.fstat(descriptor).st_size
    tail = os.pread(descriptor, _STDERR_TAIL_BYTES, max(0, size_bytes - _STDERR_TAIL_BYTES))
    return tail.decode(errors="replace").strip()


def _describe(exit_status: int, stderr_tail: str) -> str:
    how = f"killed by {signal.Signals(-exit_status).name}" if exit_status < 0 else f"exit status {exit_status}"
    return f"{how}: {stderr_tail}" if stderr_tail else how
