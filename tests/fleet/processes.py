"""Real worker processes for tests. Each is signalled and killed by its pid; every wait has a deadline."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from celery import Celery

from tasks.broker.queue_depth import waiting_messages
from tests.fleet.brokers import broker_settings

REPOSITORY = Path(__file__).resolve().parents[2]
KEYPREFIX = "fleet:"
START_SECONDS = 30.0
EXIT_SECONDS = 60.0
POLL_SECONDS = 0.02


def wait_until(
    condition: Callable[[], object], what: str, seconds: float = 60.0, story: Callable[[], str] = str
) -> None:
    """Wait until ``condition()`` is true; raise AssertionError with ``what`` and ``story()`` after ``seconds``."""
    started = time.monotonic()
    while not condition():
        assert time.monotonic() - started < seconds, f"not within {seconds:g} s: {what}\n{story()}"
        time.sleep(POLL_SECONDS)


@dataclass
class WorkerProcess:
    """A ``celery worker`` in a session of its own, with its output in a file."""

    name: str
    process: subprocess.Popen[bytes]
    log_path: Path

    @property
    def pid(self) -> int:
        """The worker's process id."""
        return self.process.pid

    def log(self) -> str:
        """Return the output so far."""
        return self.log_path.read_text(encoding="utf-8", errors="replace")

    def wait_for(self, pattern: str, seconds: float = START_SECONDS) -> None:
        """Wait for a line of output that matches ``pattern``."""

        def seen() -> bool:
            if re.search(pattern, self.log()):
                return True
            assert self.process.poll() is None, f"{self.name} ended before {pattern!r}:\n{self.log()}"
            return False

        wait_until(seen, f"{pattern!r} in the log of {self.name}", seconds)

    def wait_until_ready(self) -> None:
        """Wait until the worker consumes."""
        self.wait_for(r"@\S+ ready\.")

    def send(self, signum: signal.Signals) -> None:
        """Send a signal to this process only."""
        self.process.send_signal(signum)

    def stop_at_once(self) -> None:
        """Send SIGTERM again and again, as an impatient operator does, until a draining worker leaves."""

        def is_leaving() -> bool:
            self.send(signal.SIGTERM)
            return "asks to stop at once" in self.log()

        wait_until(is_leaving, f"{self.name} leaves", story=self.log)

    def wait_for_exit(self, seconds: float = EXIT_SECONDS) -> int:
        """Return the exit status."""
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"{self.name} still runs after {seconds:g} s:\n{self.log()}") from None

    def kill(self) -> None:
        """Send SIGKILL, as an out-of-memory killer does, and wait for the end."""
        with suppress(ProcessLookupError):
            self.process.kill()
        self.process.wait()


@dataclass
class Fleet:
    """A broker URL, a directory, and the worker processes and messages of one test."""

    broker_url: str
    directory: Path
    visibility_timeout_seconds: float = 5.0
    keyprefix: str = KEYPREFIX
    workers: list[WorkerProcess] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.directory.mkdir(parents=True, exist_ok=True)
        self.events_path.touch()
        self.app = Celery(
            "fleet-client", broker=self.broker_url, amqp="tasks.broker.rabbitmq:QuorumAmqp", set_as_current=False
        )
        self.app.conf.update(broker_settings(self.broker_url, self.visibility_timeout_seconds, self.keyprefix))
        self.app.conf.task_ignore_result = True

    @property
    def events_path(self) -> Path:
        """The file to which tasks append a JSON line for each event."""
        return self.directory / "events.jsonl"

    def start_worker(
        self,
        name: str,
        *,
        queues: str = "work",
        app: str = "standard",
        concurrency: int = 2,
        options: Iterable[str] = (),
        **config: object,
    ) -> WorkerProcess:
        """Start ``tests/fleet/apps/<app>.py`` on the threads pool, configured by ``config``."""
        log_path = self.directory / f"{name}.log"
        settings = {
            "broker_url": self.broker_url,
            "visibility_timeout_seconds": self.visibility_timeout_seconds,
            "keyprefix": self.keyprefix,
            "events": str(self.events_path),
            "worker": name,
            **config,
        }
        command = [sys.executable, "-m", "tasks", "-A", f"tests.fleet.apps.{app}", "-b", self.broker_url]
        command += ["worker", "-P", "threads", "-c", str(concurrency), "-Q", queues, "-n", f"{name}@%h", "-l", "INFO"]
        command += ["--without-gossip", "--without-mingle", "--without-heartbeat", *options]
        environment = os.environ | {"FLEET_TEST": json.dumps(settings), "PYTHONPATH": str(REPOSITORY)}
        with log_path.open("wb") as log:
            process = subprocess.Popen(
                command,
                cwd=REPOSITORY,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        worker = WorkerProcess(name, process, log_path)
        self.workers.append(worker)
        return worker

    def send(self, task: str, *arguments: object, queue: str = "work", options: dict[str, object] | None = None) -> str:
        """Publish ``task``, with ``options`` as its keyword arguments; return its id."""
        return str(self.app.send_task(task, args=arguments, kwargs=options or {}, queue=queue).id)

    def release(self, name: str) -> None:
        """Let the ``hold`` task ``name`` end."""
        (self.directory / f"{name}.released").touch()

    def ping(self, worker: WorkerProcess) -> bool:
        """Return whether the worker answers a remote-control ping."""
        replies = self.app.control.ping(timeout=3.0, limit=1, pattern=f"{worker.name}@*", matcher="glob")
        return any(key.startswith(f"{worker.name}@") for reply in replies or () for key in reply)

    def events(self, **match: object) -> list[dict[str, object]]:
        """Return the events that have all of ``match``, in order."""
        lines = self.events_path.read_text(encoding="utf-8").splitlines()
        events: list[dict[str, object]] = [json.loads(line) for line in lines]
        return [event for event in events if match.items() <= event.items()]

    def wait_for_events(self, count: int = 1, seconds: float = 60.0, **match: object) -> list[dict[str, object]]:
        """Wait for at least ``count`` events that have all of ``match``; return them."""
        wait_until(lambda: len(self.events(**match)) >= count, f"{count} events {match}", seconds, self.story)
        return self.events(**match)

    def waiting(self, queue: str = "work") -> int:
        """Return the number of messages that wait in a queue."""
        with self.app.connection_for_read() as connection:
            return waiting_messages(connection.default_channel, [queue])

    def unacked(self) -> int:
        """Return the number of delivered messages that are not acknowledged. Redis only."""
        return len(self.delivery_times())

    def delivery_times(self) -> list[float]:
        """Return the delivery times of unacknowledged messages, in wall-clock seconds, the oldest first. Redis only."""
        with self.app.connection_for_read() as connection:
            channel: Any = connection.default_channel
            return [seconds for _, seconds in channel.client.zrange(channel.unacked_index_key, 0, -1, withscores=True)]

    def wait_for_renewals(self) -> None:
        """Wait until every unacknowledged message would be overdue without a renewal since now. Redis only."""
        renewed_at = time.time() + self.visibility_timeout_seconds

        def are_renewed() -> bool:
            times = self.delivery_times()
            return bool(times) and times[0] > renewed_at

        wait_until(are_renewed, "every delivery time is renewed", story=self.story)

    def close(self) -> None:
        """Kill the workers that still run."""
        for worker in self.workers:
            worker.kill()
        self.app.close()

    def story(self) -> str:
        """Return the end of every worker's log."""
        return "\n".join(f"--- {worker.name}\n{worker.log()[-3000:]}" for worker in self.workers)
