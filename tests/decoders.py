"""Decoder adapters that fail on purpose. They act on the file's first bytes, and decode everything else for real."""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path

from inference.decode.pyav import PyAv

CRASH, CRASH_ONCE, HANG, BOMB, BUG, EXIT = b"CRASH", b"CRSH1", b"HANG!", b"BOMB!", b"BUG!!", b"EXIT!"


class Hostile:
    """Does what the first five bytes of the file say."""

    def __init__(self):
        self._pyav = PyAv()

    def probe(self, path, limits):
        act(Path(path))
        return self._pyav.probe(path, limits)

    def read(self, path, timeline, wanted, frames, limits):
        return self._pyav.read(path, timeline, wanted, frames, limits)


def act(path):
    with path.open("rb") as opened:
        order = opened.read(5)
    if order == CRASH:
        sys.stderr.write("about to fall over\n")
        sys.stderr.flush()
        os.kill(os.getpid(), signal.SIGSEGV)
    elif order == CRASH_ONCE and not (mark := path.with_suffix(".crashed")).exists():
        mark.touch()
        os.kill(os.getpid(), signal.SIGABRT)
    elif order == HANG:
        signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())  # deaf to all but SIGKILL
        path.with_suffix(".hanging").touch()
        time.sleep(3600)
    elif order == BOMB:
        bytearray(1 << 40)
    elif order == BUG:
        raise KeyError("a bug in the adapter")
    elif order == EXIT:
        os._exit(7)


class NeverStarts:
    """Cannot be built."""

    def __init__(self):
        raise RuntimeError("no such library here")
