"""Starting, asking and ending one decoder process; the parent's side."""

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
# The parent's environment is not passed on: it may hold secrets. OpenBLAS would start a thread for each core.
_ENVIRONMENT = {
    "PATH": os.defpath,  # decord appends to it when imported
    "PYTHONPATH": str(_IMPORT_ROOT),
    "PYTHONNOUSERSITE": "1",
    "LC_ALL": "C.UTF-8",
    "OPENBLAS_NUM_THREADS": "1",
    "OMP_NUM_THREADS": "1",
}


@dataclass(slots=True)
class DecoderProcess:
    """A running decoder process. The caller must :func:`end` it."""

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
        """True while it runs."""
        return self.running.poll() is None


def start(decoder: str, limits: DecodeLimits, environ: Mapping[str, str]) -> DecoderProcess:
    """Start a process with the given variables and a few of its own. It sends ``ready`` when it takes requests.

    PR_SET_PDEATHSIG is sent when the *thread* that started the process ends: call this from a thread that lives as
    long as the process may.
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
            start_new_session=True,  # only the parent handles Ctrl-C
        )
    except BaseException:
        ours.close()
        os.close(stderr_descriptor)
        raise
    finally:
        theirs.close()
    return DecoderProcess(running, ours, stderr_descriptor)


def ask(
    child: DecoderProcess, request: Mapping[str, Any], timeout_seconds: float, descriptor: int | None = None
) -> tuple[dict[str, Any], int | None]:
    """Send one request, with the file of a crop if there is one, and wait for the reply.

    Raises ``PeerGoneError``, ``DeadlineError``.
    """
    child.videos_served += 1
    os.ftruncate(child.stderr_descriptor, 0)  # later lines are about this video
    os.lseek(child.stderr_descriptor, 0, os.SEEK_SET)
    wire.send(child.connection, request, descriptor)
    return await_reply(child, timeout_seconds)


def await_reply(child: DecoderProcess, timeout_seconds: float) -> tuple[dict[str, Any], int | None]:
    """Wait for one message. Raises ``PeerGoneError``, ``DeadlineError``."""
    return wire.receive(child.connection, time.monotonic() + timeout_seconds)


def end(child: DecoderProcess, grace_seconds: float = 0.0) -> str:
    """Wait for the end of the process, kill it after the grace, and return how it ended."""
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
    ending = f"killed by {signal.Signals(-exit_status).name}" if exit_status < 0 else f"exit status {exit_status}"
    return f"{ending}: {stderr_tail}" if stderr_tail else ending
