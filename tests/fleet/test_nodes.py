"""A small drill of two nodes, each in its own network namespace, as `make drill NODES=2`.

These tests need root and a kernel with network namespaces: without them they fail with a message about it.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from tests.drill.network import BENCHMARK_NETWORK, PREFIX, NetworkError, network
from tests.fleet.processes import REPOSITORY, wait_until

NAMESPACES = Path("/run/netns")


def ip(*arguments: str) -> str:
    return subprocess.run(["ip", *arguments], capture_output=True, text=True, check=True).stdout


def runs(pid: int) -> bool:
    """Return whether the process lives; an ended process that its parent has not waited for has no command line."""
    with suppress(OSError):
        return bool(Path(f"/proc/{pid}/cmdline").read_bytes())
    return False


def drill(*prefix: str) -> subprocess.CompletedProcess[str]:
    command = [*prefix, sys.executable, "-m", "tests.drill", "--nodes", "2", "--rows", "220", "--seed", "210"]
    command += ["--cut-seconds", "6", "--silence-seconds", "3", "--seconds", "200"]
    return subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)


def test_a_disconnected_node_recovers_and_the_rows_of_a_lost_node_are_judged_by_others() -> None:
    done = drill()
    output = done.stdout + done.stderr
    assert done.returncode == 0, output
    last = (
        r"drill: rows=220 kills=[123] faults=\d+ lost=0 twice=0 redelivery_max_s=\S+ nodes=2 cuts=1 "
        r"rescued=(\d+) rescue_max_s=(\S+) back_s=(\S+) complete_s=\S+"
    )
    found = re.fullmatch(last, done.stdout.splitlines()[-1])
    assert found is not None, output
    assert int(found[1]) > 0
    assert float(found[3]) >= 0


def test_without_namespaces_the_drill_fails_and_names_what_it_needs() -> None:
    without_rights = ["setpriv", "--bounding-set=-all", "--inh-caps=-all"] if os.getuid() == 0 else []
    refused = drill(*without_rights)
    assert refused.returncode == 2
    assert "It takes root" in refused.stderr


def test_data_sent_during_a_cut_arrives_after_it_without_an_error() -> None:
    with network(2) as net:
        listen = "import socket; s = socket.create_server(('', 5000)); c = s.accept()[0]; c.sendall(c.recv(9))"
        echo = subprocess.Popen(net.within("n1", [sys.executable, "-c", listen]))
        call = (
            "import socket, sys, time\n"
            f"while True:\n try: c = socket.create_connection(('{net.address('n1')}', 5000), 1); break\n"
            " except OSError: time.sleep(0.05)\n"
            "print('connected', flush=True); sys.stdin.readline()\n"
            "c.sendall(b'x'); c.settimeout(1)\n"
            "try: c.recv(1); print('answered', flush=True)\n"
            "except TimeoutError: print('silence', flush=True)\n"
            "c.settimeout(30); c.recv(1); print('answered', flush=True)\n"
        )
        caller = subprocess.Popen(
            net.within("n2", [sys.executable, "-c", call]), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert caller.stdout is not None
        assert caller.stdin is not None
        assert caller.stdout.readline() == "connected\n"
        net.cut("n1")
        caller.stdin.write("now\n")
        caller.stdin.flush()
        assert caller.stdout.readline() == "silence\n"
        net.restore("n1")
        assert caller.communicate()[0] == "answered\n"
        echo.wait(10)


def test_namespaces_and_processes_end_with_a_killed_harness() -> None:
    program = (
        "import subprocess\nfrom tests.drill.network import network\n"
        "with network(1) as net:\n"
        " subprocess.run(net.within('n1', ['sh', '-c', 'echo $$; exec sleep 600']))\n"
    )
    command = [sys.executable, "-c", program, "tests.drill"]
    harness = subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.PIPE, text=True)
    assert harness.stdout is not None
    sleeper = int(harness.stdout.readline())
    assert (NAMESPACES / f"{PREFIX}{harness.pid}n1").exists()
    harness.kill()
    harness.wait()
    wait_until(lambda: not (NAMESPACES / f"{PREFIX}{harness.pid}n1").exists(), "the namespace is gone", 20)
    wait_until(lambda: f"{PREFIX}{harness.pid}" not in ip("link", "show"), "the bridge is gone", 20)
    wait_until(lambda: not runs(sleeper), "the node's process has ended", 20)
    harness.stdout.close()


def test_leftovers_of_an_ended_harness_are_removed_by_the_next() -> None:
    ended = subprocess.Popen(["true"])
    ended.wait()
    bridge, node = f"{PREFIX}{ended.pid}", f"{PREFIX}{ended.pid}n1"
    ip("link", "add", bridge, "type", "bridge")
    ip("netns", "add", node)
    ip("link", "add", node, "type", "veth", "peer", "name", "eth0", "netns", node)
    left = subprocess.Popen(["ip", "netns", "exec", node, "sleep", "600"])
    wait_until(lambda: str(left.pid) in ip("netns", "pids", node).split(), "the process is in its namespace", 20)
    with network(1) as net:
        assert left.wait(10) == -signal.SIGKILL
        assert bridge not in ip("link", "show")
        assert not (NAMESPACES / node).exists()
        assert net.outside.startswith(BENCHMARK_NETWORK)
    assert net.bridge not in ip("link", "show")


def test_an_error_of_ip_is_raised_with_its_message() -> None:
    with network(1) as net, pytest.raises(NetworkError, match="Cannot open network namespace"):
        type(net)(net.bridge, net.subnet, ("n7",)).pids("n7")
