"""The brokers that a drill can use, and the faults that each supports."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Mapping
from contextlib import closing
from pathlib import Path
from typing import Protocol

import redis

from tasks.queues import Queue, gpu_queue
from tests.drill.world import NODES
from tests.rabbitmq import RabbitNode
from tests.valkey import ValkeyServer, free_port


class Broker(Protocol):
    """Real servers for messages and ledger: one for both, or one for each."""

    def start(self) -> None: ...

    def environment(self) -> Mapping[str, str]:
        """Return the settings of a worker for this broker."""

    def kill(self) -> None:
        """SIGKILL."""

    def restart(self) -> None:
        """Start again after :meth:`kill`, at the same address and with the data on its disk."""

    def cut_connections(self) -> int:
        """Close every client's connection; return their number."""

    def wipe(self) -> None:
        """Delete all data, the ledger's too."""

    def unfinished(self) -> int:
        """Return the number of messages that wait or are unacknowledged."""

    def stop(self) -> None: ...


class ValkeyBroker:
    """Messages and ledger in one server, with the durability of deploy/."""

    def __init__(self) -> None:
        directory = Path(tempfile.mkdtemp(prefix="tamis-drill-valkey-"))
        self.server = ValkeyServer(directory, free_port(), ("--appendonly", "yes", "--appendfsync", "everysec"))

    def start(self) -> None:
        self.server.start()

    def environment(self) -> Mapping[str, str]:
        return {"TAMIS_BROKER_URL": self.server.url}

    def kill(self) -> None:
        self.server.kill()

    def restart(self) -> None:
        self.server.start()

    def cut_connections(self) -> int:
        with closing(self.server.client()) as client:
            return int(client.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"))

    def wipe(self) -> None:
        with closing(self.server.client()) as client:
            client.flushall()

    def unfinished(self) -> int:
        with closing(self.server.client()) as client:
            return unfinished_messages(client)

    def stop(self) -> None:
        self.server.kill()
        shutil.rmtree(self.server.directory, ignore_errors=True)


def unfinished_messages(client: redis.Redis) -> int:
    """Return the number of a Redis server's messages that wait or are unacknowledged."""
    queues = [key for key in client.scan_iter("tamis:*", _type="list") if b"run:" not in key]
    return int(client.hlen("tamis:unacked")) + sum(int(client.llen(queue)) for queue in queues)


class RabbitBroker:
    """Messages in RabbitMQ, the ledger in a Valkey server. Each fault is applied to both."""

    def __init__(self) -> None:
        directory = Path(tempfile.mkdtemp(prefix="tamis-drill-rabbitmq-"))
        self.node = RabbitNode(directory, free_port(), free_port(), free_port())
        self.ledger = ValkeyBroker()

    def start(self) -> None:
        self.node.start()
        self.ledger.start()

    def environment(self) -> Mapping[str, str]:
        return {"TAMIS_BROKER_URL": self.node.url, "TAMIS_LEDGER_URL": self.ledger.server.url}

    def kill(self) -> None:
        self.node.kill()
        self.ledger.kill()

    def restart(self) -> None:
        self.start()

    def cut_connections(self) -> int:
        cut = len(self.node.ctl("list_connections", "pid").splitlines())
        self.node.ctl("close_all_connections", "the drill")
        return cut + self.ledger.cut_connections()

    def wipe(self) -> None:
        for queue in self._messages():
            self.node.ctl("purge_queue", queue)
        self.ledger.wipe()

    def unfinished(self) -> int:
        return sum(self._messages().values())

    def stop(self) -> None:
        self.node.kill()  # its database is not needed again
        shutil.rmtree(self.node.directory, ignore_errors=True)
        self.ledger.stop()

    def _messages(self) -> dict[str, int]:
        """Return by name the number of messages in tamis's queues, without Celery's own ones."""
        ours = {queue.value for queue in Queue} | {gpu_queue(node) for node in NODES}
        return {name: queue["messages"] for name, queue in self.node.queues("messages").items() if name in ours}


BROKERS: Mapping[str, Callable[[], Broker]] = {"redis": ValkeyBroker, "rabbitmq": RabbitBroker}
