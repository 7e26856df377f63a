"""What a decoder child gives up before it opens the first hostile file: new privileges, and the network.

A file that takes over the decoder then has no secrets (its environment is empty), no socket but the parent's, and
nobody to tell. The kernel may refuse the second part (a container without user namespaces): the child goes on
without it.
"""

from __future__ import annotations

import ctypes
import os

_PR_SET_NO_NEW_PRIVS = 38  # linux/prctl.h
_CLONE_NEWUSER = 0x10000000  # linux/sched.h
_CLONE_NEWNET = 0x40000000


def confine(*, keeps_network: bool) -> None:
    """Confine this process for good. OSError if it may still gain privileges."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_NO_NEW_PRIVS)")
    if keeps_network:
        return
    # root may, and would lose its rights over files in a user namespace; others may only together with one.
    is_root = os.geteuid() == 0
    libc.unshare(_CLONE_NEWNET if is_root else _CLONE_NEWNET | _CLONE_NEWUSER)
