"""A decoder whose fault depends on a file's first bytes. The real decoder pool runs it in a child process."""

from __future__ import annotations

import os
import signal
from pathlib import Path


class Poisoned:
    """Decoder adapter ``tests.drill.poison:Poisoned``; it decodes nothing."""

    def probe(self, path: str, _limits: object) -> None:
        """Crash, hang or allocate a terabyte."""
        with Path(path).open("rb") as video:
            order = video.read(5)
        if order == b"CRASH":
            os.kill(os.getpid(), signal.SIGSEGV)
        elif order == b"HANG!":
            signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())  # only SIGKILL ends it
            signal.sigwait([signal.SIGUSR1])
        elif order == b"BOMB!":
            bytearray(1 << 40)
        raise ValueError(f"{path} begins with {order!r}: no poison")

    read = probe
