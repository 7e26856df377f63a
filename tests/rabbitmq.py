"""A private, real RabbitMQ node for a test: Debian's ``rabbitmq-server`` on free loopback ports, in its own directory.

It ends with its owner: it is stopped by pid on leaving the context, and if the owner dies first (``kill -9``
included), a small watcher sees the pipe between them close, kills the node and removes its directory.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from tests.valkey import free_port

# Debian's own wrappers in /usr/sbin change to the system's user, cookie and node.
BINARIES = Path("/usr/lib/rabbitmq/bin")
REMEDY = "install RabbitMQ: apt-get install rabbitmq-server (make test does it for root)"

_START_SECONDS = 60
_STOP_SECONDS = 20
_WATCH = 'read -r _; kill -9 "$1" "$2" 2>/dev/null; rm -rf -- "$3"'  # read returns when the owner's end closes

_CONFIG = """
listeners.tcp.1 = 127.0.0.1:{port}
loopback_users = none
vm_memory_high_watermark.absolute = 256MiB
disk_free_limit.absolute = 10MB
log.console = false
"""


@dataclass(slots=True)
class RabbitNode:
    """One node with its own epmd, cookie, database and log."""

    directory: Path
    port: int
    epmd_port: int
    distribution_port: int
    _epmd: subprocess.Popen[bytes] | None = field(default=None, repr=False)
    _server: subprocess.Popen[bytes] | None = field(default=None, repr=False)
    _watcher: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    @property
    def url(self) -> str:
        """``amqp://…`` of the default virtual host."""
        return f"amqp://guest:guest@127.0.0.1:{self.port}//"

    @property
    def environ(self) -> dict[str, str]:
        """Environment variables that separate the node and its commands from the system's own node."""
        home, command_port = str(self.directory), str(free_port())
        return {
            **{name: value for name, value in os.environ.items() if not name.startswith(("RABBITMQ_", "ERL_"))},
            "HOME": home,  # the cookie
            "RABBITMQ_NODENAME": "tamis-test@localhost",
            "RABBITMQ_MNESIA_BASE": f"{home}/mnesia",
            "RABBITMQ_LOG_BASE": f"{home}/log",
            "RABBITMQ_CONFIG_FILE": f"{home}/rabbitmq.conf",
            "RABBITMQ_CONF_ENV_FILE": "/dev/null",
            "RABBITMQ_ENABLED_PLUGINS_FILE": f"{home}/enabled_plugins",
            "RABBITMQ_DIST_PORT": str(self.distribution_port),
            "RABBITMQ_CTL_DIST_PORT_MIN": command_port,
            "RABBITMQ_CTL_DIST_PORT_MAX": command_port,
            "ERL_EPMD_PORT": str(self.epmd_port),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "RUNNING_UNDER_SYSTEMD": "true",  # the script then becomes the server: one pid
        }

    def start(self) -> None:
        """Start and wait until the node accepts connections. After a ``kill`` it comes back with what it had stored."""
        (self.directory / "rabbitmq.conf").write_text(_CONFIG.format(port=self.port))
        (self.directory / "enabled_plugins").write_text("[].\n")
        self._epmd = self._launch("epmd", "-port", str(self.epmd_port), "-address", "127.0.0.1")
        self._server = self._launch(str(BINARIES / "rabbitmq-server"))
        watch = ["sh", "-c", _WATCH, "sh", str(self._server.pid), str(self._epmd.pid), str(self.directory)]
        # Its own session: a Ctrl-C for the owner must not end the watcher.
        self._watcher = subprocess.Popen(watch, stdin=subprocess.PIPE, start_new_session=True)
        try:
            self._await_listener()
        except BaseException:
            self.kill()
            raise

    def ctl(self, *arguments: str) -> str:
        """Return the output of ``rabbitmqctl``; each call takes about a second."""
        command = [str(BINARIES / "rabbitmqctl"), "--quiet", *arguments]
        answer = subprocess.run(
            command, env=self.environ, capture_output=True, text=True, timeout=_START_SECONDS, check=False
        )
        if answer.returncode != 0:
            raise RuntimeError(f"{' '.join(command)} failed:\n{answer.stdout}{answer.stderr}")
        return answer.stdout

    def queues(self, *columns: str) -> dict[str, dict[str, Any]]:
        """Return each queue's ``columns`` by its name."""
        listed = json.loads(self.ctl("list_queues", "--formatter", "json", "name", *columns))
        return {queue["name"]: queue for queue in listed}

    def close_connections_of(self, pid: int) -> None:
        """Close every connection of one process, as a restart of its node would."""
        ports = [connection.laddr.port for connection in psutil.Process(pid).net_connections("tcp")]
        peer_port = "proplists:get_value(peer_port, rabbit_networking:connection_info(C, [peer_port]))"
        self.ctl(
            "eval",
            f'[rabbit_networking:close_connection(C, "a test") || C <- rabbit_networking:connections(), '
            f"lists:member({peer_port}, {ports})].",
        )

    def stop(self) -> None:
        """Shut down cleanly; by force if that takes too long. Idempotent."""
        if self._server is not None:
            self._server.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._server.wait(_STOP_SECONDS)
        self.kill()

    def kill(self) -> None:
        """SIGKILL, as an out-of-memory killer would. Idempotent."""
        self._stop_watcher()  # first: afterwards the pids may be other processes'
        for process in (self._server, self._epmd):
            if process is not None:
                process.kill()
                process.wait()
        self._server = self._epmd = None

    def _launch(self, *command: str) -> subprocess.Popen[bytes]:
        with (self.directory / "output").open("ab") as output:
            return subprocess.Popen(
                command,
                env=self.environ,
                cwd=self.directory,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,  # Erlang disturbs a shared terminal
            )

    def _await_listener(self) -> None:
        deadline = time.monotonic() + _START_SECONDS
        while not self._listens():
            if self._server is None or self._server.poll() is not None or time.monotonic() > deadline:
                output = (self.directory / "output").read_text(errors="replace")
                raise RuntimeError(f"rabbitmq-server did not start on port {self.port}:\n{output[-2000:]}")
            time.sleep(0.05)

    def _listens(self) -> bool:
        try:
            socket.create_connection(("127.0.0.1", self.port), timeout=1.0).close()
        except OSError:
            return False
        return True

    def _stop_watcher(self) -> None:
        if self._watcher is None:
            return
        self._watcher.kill()
        self._watcher.wait()
        if self._watcher.stdin is not None:
            self._watcher.stdin.close()
        self._watcher = None


@contextlib.contextmanager
def rabbit_node() -> Iterator[RabbitNode]:
    """Run a node in a new directory, which is removed afterwards."""
    if not (BINARIES / "rabbitmq-server").exists() or shutil.which("epmd") is None:
        raise RuntimeError(f"there is no {BINARIES}/rabbitmq-server: {REMEDY}")
    directory = Path(tempfile.mkdtemp(prefix="tamis-rabbitmq-"))
    node = RabbitNode(directory, free_port(), free_port(), free_port())
    try:
        node.start()
        yield node
    finally:
        node.kill()  # its database is not needed again
        shutil.rmtree(directory, ignore_errors=True)
