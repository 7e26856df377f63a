"""Restrictions that a decoder process puts on itself before it opens the first hostile file.

A file that takes over the decoder then finds no secrets (the environment is empty), no socket but the parent's, and no
network. The kernel may refuse the last (a container without user namespaces): the process then keeps its network.
"""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import sys
from pathlib import Path

_PR_SET_PDEATHSIG = 1  # linux/prctl.h
_PR_SET_NO_NEW_PRIVS = 38
_CLONE_NEWUSER = 0x10000000  # linux/sched.h
_CLONE_NEWNET = 0x40000000
_NICENESS = 5  # the threads of the models come first
_OOM_SCORE = "500"  # when memory runs out, the kernel should kill a decoder before the worker


def confine(*, keeps_network: bool) -> None:
    """Give up new privileges, and the network unless it is kept. OSError if privileges could still be gained."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_NO_NEW_PRIVS)")
    if keeps_network:
        return
    # root needs no user namespace, and would lose its rights over files in one; other users need both namespaces.
    is_root = os.geteuid() == 0
    libc.unshare(_CLONE_NEWNET if is_root else _CLONE_NEWNET | _CLONE_NEWUSER)


def die_with_parent(parent_pid: int) -> None:
    """Let the kernel kill this process when its parent ends; exit if the parent has ended already."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG)")
    if os.getppid() != parent_pid:
        sys.exit(1)


def lower_priority() -> None:
    """Let the worker go first: in CPU time, and in staying alive when memory runs out. Write no core dumps."""
    os.nice(_NICENESS)
    Path("/proc/self/oom_score_adj").write_text(_OOM_SCORE, encoding="ascii")
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def limit_memory(allowance_bytes: int) -> None:
    """Limit the address space to the part mapped now plus the allowance."""
    mapped_pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
    ceiling = mapped_pages * resource.getpagesize() + allowance_bytes
    resource.setrlimit(resource.RLIMIT_AS, (ceiling, ceiling))
