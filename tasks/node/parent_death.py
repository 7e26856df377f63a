"""Child processes that end when their parent ends, even when the parent is killed with SIGKILL."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

# PR_SET_PDEATHSIG = 1: the kernel sends SIGTERM when the thread that started the child ends. A launcher and not
# preexec_fn, because Python code after a fork in a process with threads can deadlock; exec keeps the setting.
_LAUNCHER = """
import ctypes, os, signal, sys
ctypes.CDLL(None, use_errno=True).prctl(1, signal.SIGTERM)
if os.getppid() != int(sys.argv[1]):
    sys.exit("the parent is gone")
os.execv(sys.argv[2], sys.argv[2:])
"""


def ending_with_parent(argv: Sequence[str]) -> list[str]:
    """Return a command line that runs ``argv``, whose first word is an absolute path, and ends with this process."""
    return [sys.executable, "-I", "-S", "-c", _LAUNCHER, str(os.getpid()), *argv]
