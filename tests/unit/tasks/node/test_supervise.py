from __future__ import annotations

import os
import signal
import sys
import threading
from pathlib import Path

import pytest

from tasks.node.devices import NodeGpu
from tasks.node.processes import ProcessSpec, node_processes
from tasks.node.supervise import Supervisor, describe_exit
from tasks.settings import Settings
from tests.fleet.processes import wait_until

TWO_GPUS = [NodeGpu("NVIDIA", "cuda", {"CUDA_VISIBLE_DEVICES": index}) for index in ("0", "1")]

ENDS_ON_SIGTERM = "import signal\nprint('up', flush=True)\nsignal.pause()"
IGNORES_SIGTERM = (
    "import signal\nsignal.signal(15, signal.SIG_IGN)\nprint('up', flush=True)\nwhile True: signal.pause()"
)


def spec(name: str, program: str) -> ProcessSpec:
    return ProcessSpec(name, (sys.executable, "-c", program))


class SupervisorThread:
    """A supervisor in a thread."""

    def __init__(self, specs: list[ProcessSpec], log_dir: Path, drain_seconds: float = 20.0) -> None:
        self.said: list[str] = []
        self.supervisor = Supervisor(specs, log_dir, self.said.append)
        self.log_dir = log_dir
        self.thread = threading.Thread(target=self.supervisor.run, args=(drain_seconds,))
        self.thread.start()
        for child in specs:
            wait_until(lambda child=child: "up" in self.log(child.name), f"{child.name} is up")

    def log(self, name: str) -> str:
        path = self.log_dir / f"{name}.log"
        return path.read_text() if path.exists() else ""

    def pid(self, index: int = 0) -> int:
        process = self.supervisor.children[index].process
        assert process is not None
        return process.pid

    def stop(self) -> None:
        self.supervisor.stop.set()
        self.thread.join(30)
        assert not self.thread.is_alive()


def is_gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


def test_a_killed_process_is_started_again_and_its_exit_is_announced(tmp_path: Path) -> None:
    running = SupervisorThread([spec("io", ENDS_ON_SIGTERM)], tmp_path)
    first = running.pid()
    os.kill(first, signal.SIGKILL)
    wait_until(lambda: running.log("io").count("up") == 2, "io is started again")
    assert running.pid() != first
    assert any("io ended (signal SIGKILL)" in line for line in running.said)
    running.stop()


def test_the_wait_doubles_for_a_process_that_ends_early(tmp_path: Path) -> None:
    running = SupervisorThread([spec("io", "print('up', flush=True); raise SystemExit(70)")], tmp_path)
    wait_until(lambda: sum("status 70" in line for line in running.said) == 2, "two exits")
    running.stop()
    assert "again in 2 s" in running.said[0]
    assert "again in 4 s" in running.said[1]


def test_stopping_ends_every_process(tmp_path: Path) -> None:
    running = SupervisorThread([spec("a", ENDS_ON_SIGTERM), spec("b", ENDS_ON_SIGTERM)], tmp_path)
    pids = [running.pid(0), running.pid(1)]
    running.stop()
    assert all(is_gone(pid) for pid in pids)


def test_a_process_that_does_not_drain_in_time_is_killed_and_named(tmp_path: Path) -> None:
    running = SupervisorThread([spec("deaf", IGNORES_SIGTERM)], tmp_path, drain_seconds=0.5)
    pid = running.pid()
    running.stop()
    assert is_gone(pid)
    assert any("deaf had not drained" in line for line in running.said)


def test_processes_end_with_a_killed_supervisor(tmp_path: Path) -> None:
    program = (
        "import sys\nfrom pathlib import Path\nfrom tasks.node.processes import ProcessSpec\n"
        "from tasks.node.supervise import Supervisor\n"
        f"child = ProcessSpec('c', (sys.executable, '-c', {ENDS_ON_SIGTERM!r}))\n"
        f"s = Supervisor([child], Path({str(tmp_path)!r}), print)\n"
        "s.run(5)\n"
    )
    pid = os.spawnv(os.P_NOWAIT, sys.executable, [sys.executable, "-c", program])
    wait_until(lambda: (tmp_path / "c.log").exists() and "up" in (tmp_path / "c.log").read_text(), "the child is up")
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    assert children
    wait_until(lambda: all(is_gone(int(child)) for child in children), "the children end")


@pytest.mark.parametrize(("code", "text"), [(-9, "signal SIGKILL"), (70, "status 70"), (None, "status None")])
def test_exits_are_named(code: int | None, text: str) -> None:
    assert describe_exit(code) == text


def test_a_node_without_gpus_has_one_cpu_worker_and_one_with_two_has_two() -> None:
    settings = Settings.of(node="n1")
    names = [process.name for process in node_processes(settings, [])]
    assert names == ["io", "gpu0", "results", "beat"]
    processes = {process.name: process for process in node_processes(settings, TWO_GPUS)}
    assert [processes[name].variables["CUDA_VISIBLE_DEVICES"] for name in ("gpu0", "gpu1")] == ["0", "1"]
    assert "--queues=gpu.n1,gpu" in processes["gpu1"].argv
    assert all(process.variables["TAMIS_GPU_WORKERS"] == "2" for process in processes.values())


def test_every_worker_of_a_node_has_its_own_metrics_port() -> None:
    specs = node_processes(Settings.of(node="n1", metrics_port=9800), TWO_GPUS)
    ports = {spec.name: spec.variables.get("TAMIS_METRICS_PORT") for spec in specs}
    assert ports == {"io": "9800", "results": "9801", "gpu0": "9802", "gpu1": "9803", "beat": None}
