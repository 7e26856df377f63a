"""A decoder that does what a file's first bytes say. The real decoder pool runs it in a child, as it would any."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path


class Poisoned:
    """Adapter ``tests.drill.poison:Poisoned``: it never comes to decode anything."""

    def probe(self, path: str, _limits: object) -> None:
        """Crash, hang or ask for a terabyte."""
        with Path(path).open("rb") as video:
            order = video.read(5)
        if order == b"CRASH":
            os.kill(os.getpid(), signal.SIGSEGV)
        elif order == b"HANG!":
            signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())  # deaf to all but SIGKILL
            time.sleep(3600)
        elif order == b"BOMB!":
            bytearray(1 << 40)
        raise ValueError(f"{path} begins with {order!r}: no poison")

    read = probe
