"""Network namespaces on one machine: every node has a namespace, an address and a cable to a bridge.

The broker listens on the bridge's address. A node whose cable is pulled keeps its own link and its routes: its packets
are lost without an error, as behind a dead switch, and connections stay half open on both sides. (A link that goes down
is the simpler case: the kernel reports "no route to host" at once.)

A small watcher process sees the pipe to the harness close, kills the processes in the namespaces and removes them. When
the watcher is killed too, the next drill removes the leftovers.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

BENCHMARK_NETWORK = "198.18"  # RFC 2544: never routed, for tests such as this
PREFIX = "tmd"  # then the pid of the harness, then the node: an interface's name has at most 15 characters
OURS = re.compile(rf"\b({PREFIX}(\d+))((?:n\d+)?)\b")
NAMESPACES = Path("/run/netns")

_WATCH = """
trap '' HUP INT TERM
read -r _
bridge=$1; shift
for node; do ip netns pids "$node" | xargs -r kill -9; done
for node; do ip link del "$node"; ip netns del "$node"; done
ip link del "$bridge"
"""


class NetworkError(RuntimeError):
    """Namespaces cannot be made here; the message says what is missing."""


@dataclass(frozen=True, slots=True)
class Network:
    """A bridge and its nodes, which are named ``n1``, ``n2`` …"""

    bridge: str
    subnet: str  # the first three numbers of its addresses
    nodes: tuple[str, ...]

    @property
    def outside(self) -> str:
        """The broker's address for every node."""
        return f"{self.subnet}.1"

    def address(self, node: str) -> str:
        """Return the node's address."""
        return f"{self.subnet}.{10 + self.nodes.index(node)}"

    def within(self, node: str, argv: Sequence[str]) -> list[str]:
        """Return a command line that runs ``argv`` on the node."""
        return [_ip_path(), "netns", "exec", self._named(node), *argv]

    def pids(self, node: str) -> frozenset[int]:
        """Return the pids of the processes on the node."""
        return frozenset(map(int, _ip("netns", "pids", self._named(node)).split()))

    def cut(self, node: str) -> None:
        """Disconnect the node: packets are lost in both directions, without an error."""
        _ip("link", "set", self._named(node), "nomaster")

    def restore(self, node: str) -> None:
        """End :meth:`cut`."""
        _ip("link", "set", self._named(node), "master", self.bridge)

    def power_off(self, node: str) -> frozenset[int]:
        """Kill all processes of the node without closing their connections; return the pids."""
        self.cut(node)
        found = pids = self.pids(node)
        for pid in pids:  # stop all first, so that none restarts another
            _signal(pid, signal.SIGSTOP)
        while pids := self.pids(node):
            for pid in pids:
                _signal(pid, signal.SIGKILL)
            found |= pids
        return found

    def _named(self, node: str) -> str:
        return f"{self.bridge}{node}"

    def lay(self) -> None:
        """Create the bridge, the namespaces and the cables."""
        _ip("link", "add", self.bridge, "address", _mac(1), "type", "bridge")
        _ip("address", "add", f"{self.outside}/24", "dev", self.bridge)
        _ip("link", "set", self.bridge, "up")
        for number, node in enumerate(self.nodes, 10):
            self._lay_cable(self._named(node), self.address(node), _mac(number))

    def _lay_cable(self, name: str, address: str, mac: str) -> None:
        _ip("netns", "add", name)
        _ip("link", "add", name, "type", "veth", "peer", "name", "eth0", "address", mac, "netns", name)
        _ip("link", "set", name, "master", self.bridge, "up")
        _ip("-n", name, "link", "set", "lo", "up")
        _ip("-n", name, "address", "add", f"{address}/24", "dev", "eth0")
        _ip("-n", name, "link", "set", "eth0", "up")
        # Fixed neighbours, as behind a router: an unanswered ARP request would give "no route" after three seconds.
        _ip("-n", name, "neighbour", "replace", self.outside, "lladdr", _mac(1), "dev", "eth0", "nud", "permanent")
        _ip("neighbour", "replace", address, "lladdr", mac, "dev", self.bridge, "nud", "permanent")


@contextmanager
def network(count: int) -> Iterator[Network]:
    """Yield nodes ``n1`` … ``n<count>`` on a bridge; remove them afterwards, with their processes.

    Raises :class:`NetworkError` with the remedy where this user or this kernel cannot make namespaces.
    """
    _reclaim()
    laid = Network(f"{PREFIX}{os.getpid()}", _free_subnet(), tuple(f"n{number}" for number in range(1, count + 1)))
    names = [laid.bridge, *(f"{laid.bridge}{node}" for node in laid.nodes)]
    watcher = subprocess.Popen(
        ["sh", "-c", _WATCH, "sh", *names], stdin=subprocess.PIPE, stderr=subprocess.DEVNULL, start_new_session=True
    )
    try:
        laid.lay()
        yield laid
    finally:
        watcher.communicate()


def _reclaim() -> None:
    """Remove the leftovers of harnesses that have ended."""
    said = " ".join([_ip("-o", "link", "show"), *(path.name for path in NAMESPACES.glob(f"{PREFIX}*"))])
    found = {(match[2], match[1] + match[3], bool(match[3])) for match in OURS.finditer(said)}
    for owner, name, is_node in sorted(found, key=lambda one: not one[2]):  # the bridges last
        if _lives(int(owner)):
            continue
        if is_node and (NAMESPACES / name).exists():
            for pid in _tried("netns", "pids", name).split():
                _signal(int(pid), signal.SIGKILL)
            _tried("netns", "delete", name)
        _tried("link", "delete", name)


def _lives(owner: int) -> bool:
    """Return whether the pid is that of a harness; another program may have it now."""
    with suppress(OSError):
        command = Path(f"/proc/{owner}/cmdline").read_bytes()
        return b"tests.drill" in command or b"pytest" in command
    return False


def _free_subnet() -> str:
    taken = _ip("-o", "-4", "address", "show")
    third = (os.getpid() + step for step in range(256))
    return next(net for n in third if f"{(net := f'{BENCHMARK_NETWORK}.{n % 256}')}." not in taken)


def _mac(number: int) -> str:
    """Return a locally administered MAC address."""
    return f"02:00:c6:12:00:{number:02x}"


def _signal(pid: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, number)


def _ip_path() -> str:
    found = shutil.which("ip", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
    if found is None:
        raise NetworkError("nodes in network namespaces need the command `ip`: apt-get install iproute2")
    return found


def _ip(*arguments: str) -> str:
    answer = subprocess.run([_ip_path(), *arguments], capture_output=True, text=True, check=False)
    if answer.returncode != 0:
        msg = (
            f"no network of nodes can be made: `ip {' '.join(arguments)}` says {answer.stderr.strip()!r}. "
            "It takes root (CAP_SYS_ADMIN and CAP_NET_ADMIN) and a kernel with network namespaces, veth and bridges"
        )
        raise NetworkError(msg)
    return answer.stdout


def _tried(*arguments: str) -> str:
    with suppress(NetworkError):
        return _ip(*arguments)
    return ""
