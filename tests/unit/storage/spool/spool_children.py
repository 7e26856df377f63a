"""Child processes that share a spool, and some that are killed: ``spool_children.py ROLE ROOT COUNT`` as a script."""

from __future__ import annotations

import hashlib
import itertools
import os
import random
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any, BinaryIO

from storage.errors import SpoolFull
from storage.spool import Spool

REPOSITORY = Path(__file__).parents[4]
LIMIT_BYTES = 1000
CRASH_LIMIT_BYTES = 600
# Functions without a lasting effect: no kill between their lines is tried.
READ_ONLY = {"totals", "_select", "_first", "entries", "current", "name", "_path", "part_of", "_lstat", "exists"}
READ_ONLY |= {
    "is_whole",
    "is_stray",
    "_is_regular",
    "_fits",
    "shortfall_bytes",
    "spool_disk_faults",
    "_faults",
    "_check_key",
}
READ_ONLY |= {"<listcomp>", "<setcomp>", "<genexpr>"}
NAMES = tuple("abcdefgh")
Trace = Callable[[FrameType, str, Any], Any]


def key_of(name: str) -> str:
    """Return a spool key for ``name``."""
    return hashlib.sha256(name.encode()).hexdigest()


def content_of(name: str) -> bytes:
    """Return 100 to 350 bytes, different for every name."""
    return (key_of(name).encode() * 8)[: 100 + 50 * (ord(name[0]) % 6)]


def writer_of(name: str) -> Callable[[BinaryIO], None]:
    """Return a writer of the name's content."""
    return writing(content_of(name))


def writing(content: bytes) -> Callable[[BinaryIO], None]:
    """Return a writer of the content, in pieces."""

    def write(into: BinaryIO) -> None:
        into.writelines(content[begin : begin + 120] for begin in range(0, len(content), 120))

    return write


def add(spool: Spool, name: str, holder: str) -> Path:
    """Add the name's content."""
    return spool.add(key_of(name), len(content_of(name)), holder, writer_of(name))


def start(role: str, root: Path, count: int = 0) -> subprocess.Popen[str]:
    """Start this file as a script in another process."""
    command = [sys.executable, "-W", "error", __file__, role, str(root), str(count)]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, env={"PYTHONPATH": str(REPOSITORY)})


def ready(child: subprocess.Popen[str]) -> subprocess.Popen[str]:
    """Wait until the child has printed ``ready``."""
    assert child.stdout is not None
    assert child.stdout.readline() == "ready\n"
    return child


def go_on(children: list[subprocess.Popen[str]]) -> None:
    """Let the children end their downloads."""
    for child in children:
        assert child.stdin is not None
        child.stdin.write("\n")
        child.stdin.flush()


def bytes_on_disk(root: Path) -> int:
    """Return the bytes of whole and part files in the spool's directory."""
    sizes = 0
    for path in root.iterdir():
        if not path.name.startswith("index"):
            try:
                sizes += path.stat().st_size
            except FileNotFoundError:  # evicted since
                continue
    return sizes


def hang(root: Path, _count: int) -> None:
    """Write half of ``a`` and hang."""

    def write(into: BinaryIO) -> None:
        into.write(content_of("a")[:50])
        sys.stdout.write("half\n")
        sys.stdout.flush()
        threading.Event().wait()

    Spool(root, limit_bytes=LIMIT_BYTES).add(key_of("a"), len(content_of("a")), "hanging", write)


def download_when_told(root: Path, _count: int) -> None:
    """Print ``ready``, then add ``a``; a download is logged, and ends at a line on standard input."""

    def write(into: BinaryIO) -> None:
        with (root.parent / "downloads.log").open("a") as log:
            log.write("downloaded\n")
        sys.stdin.readline()
        writer_of("a")(into)

    with Spool(root, limit_bytes=LIMIT_BYTES) as spool:
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        path = spool.add(key_of("a"), len(content_of("a")), f"holder-{os.getpid()}", write)
    sys.stdout.write(path.read_text())


def compete(root: Path, rounds: int) -> None:
    """Add, read and release random names; fail when a leased file is not whole or the limit is exceeded."""
    chance = random.Random(os.getpid())
    holder = f"holder-{os.getpid()}"
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    with Spool(root, limit_bytes=LIMIT_BYTES) as spool:
        added = 0
        for _ in range(rounds):
            name = chance.choice(NAMES)
            try:
                path = add(spool, name, holder)
            except SpoolFull:
                path = None
            if path is not None and path.read_bytes() != content_of(name):
                sys.exit(f"{path} is not whole")
            added += path is not None
            usage = spool.usage()
            if usage.used_bytes + usage.reserved_bytes > LIMIT_BYTES or bytes_on_disk(root) > LIMIT_BYTES:
                sys.exit(f"over the limit: {usage}, {bytes_on_disk(root)} bytes on the disk")
            if chance.random() < 0.8:
                spool.release(key_of(name), holder)
            if chance.random() < 0.1:
                spool.reclaim()
        spool.release_all(holder)
    sys.stdout.write(f"{added}\n")


def die_at_every_line(root: Path, _count: int) -> None:
    """Kill a child at the first, second, … line that may change the spool, and check the spool after each kill."""
    for line in itertools.count(1):
        child = os.fork()
        if child == 0:
            sys.settrace(_kill_at(line))
            _use_everything(root)
            os._exit(0)
        _, status = os.waitpid(child, 0)
        _check_after_crash(root, line)
        if os.waitstatus_to_exitcode(status) == 0:
            sys.stdout.write(f"{line}\n")
            return
        if os.waitstatus_to_exitcode(status) != -signal.SIGKILL:
            sys.exit(f"the child failed by itself at line {line}")


def fork(root: Path, _count: int) -> None:
    """Use a spool that was opened before a fork, in the child."""
    with Spool(root, limit_bytes=LIMIT_BYTES) as spool:
        child = os.fork()
        if child == 0:
            try:
                spool.usage()
            except RuntimeError:
                os._exit(7)
            os._exit(0)
        sys.stdout.write(f"{os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])} {add(spool, 'a', 'run:1').exists()}\n")


def _use_everything(root: Path) -> None:
    with Spool(root, limit_bytes=CRASH_LIMIT_BYTES) as spool:
        add(spool, "a", "child")  # evicts c
        spool.lease(key_of("a"), "another")
        spool.remove(key_of("a"))
        add(spool, "a", "child")
        spool.release_all("another")
        spool.release_all("child")
        spool.reclaim()


def _check_after_crash(root: Path, line: int) -> None:
    with Spool(root, limit_bytes=CRASH_LIMIT_BYTES) as spool:
        spool.reclaim()
        usage = spool.usage()
        if usage.reserved_bytes or usage.used_bytes != bytes_on_disk(root) or usage.used_bytes > CRASH_LIMIT_BYTES:
            sys.exit(f"killed at line {line}: {usage}, {bytes_on_disk(root)} bytes on the disk")
        for holder in ("child", "another"):
            spool.release_all(holder)
        for name in "acd":  # c and d remain for the next child
            if add(spool, name, "checker").read_bytes() != content_of(name):
                sys.exit(f"killed at line {line}: {name} is not whole")
            spool.release(key_of(name), "checker")


def _kill_at(line: int) -> Trace:
    lines = itertools.count(1)

    def trace(frame: FrameType, event: str, _argument: object) -> Trace | None:
        code = frame.f_code
        if "/storage/spool" not in code.co_filename or code.co_filename == __file__ or code.co_name in READ_ONLY:
            return None
        if event == "line" and next(lines) == line:
            os.kill(os.getpid(), signal.SIGKILL)
        return trace

    return trace


if __name__ == "__main__":
    roles = {
        "hang": hang,
        "download_when_told": download_when_told,
        "compete": compete,
        "fork": fork,
        "die_at_every_line": die_at_every_line,
    }
    roles[sys.argv[1]](Path(sys.argv[2]), int(sys.argv[3]))
