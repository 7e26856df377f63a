"""The processes of one node as data: command line, queues and threads of each."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from tasks.node.devices import NodeGpu
from tasks.queues import Queue, gpu_queue
from tasks.settings import Settings

TAMIS = (sys.executable, "-P", "-m", "tasks")  # -P: a tasks.py in the working directory is not ours


@dataclass(frozen=True, slots=True)
class ProcessSpec:
    """A process that `tamis up` keeps alive."""

    name: str
    argv: tuple[str, ...]
    variables: dict[str, str] = field(default_factory=dict)


def node_processes(settings: Settings, gpus: Sequence[NodeGpu]) -> list[ProcessSpec]:
    """Return io, one inference worker per GPU (one on the CPU when there is none), results and beat."""
    shared = {"TAMIS_GPU_WORKERS": str(max(1, len(gpus))), "TAMIS_NODE": settings.node.name}
    inference = [_gpu_worker(settings, index, shared | gpu.variables) for index, gpu in enumerate(gpus)]
    io = _worker(settings, "io", [Queue.IO.value], settings.flow.max_downloads, shared)
    results = _worker(settings, "results", [Queue.RESULTS.value, Queue.CONTROL.value], 4, shared)
    inference = inference or [_gpu_worker(settings, 0, shared)]
    ports = _metrics_ports([io, results, *inference], settings.telemetry.metrics_port)
    workers = [replace(spec, variables=spec.variables | ports.get(spec.name, {})) for spec in (io, *inference, results)]
    return [*workers, _beat(settings, shared)]


def _metrics_ports(workers: list[ProcessSpec], first_port: int | None) -> dict[str, dict[str, str]]:
    """Return each worker's metrics port by name: io the first port, results the next, then the inference workers."""
    if first_port is None:
        return {}
    return {spec.name: {"TAMIS_METRICS_PORT": str(port)} for port, spec in enumerate(workers, first_port)}


def _gpu_worker(settings: Settings, index: int, variables: dict[str, str]) -> ProcessSpec:
    queues = [gpu_queue(settings.node.name), Queue.GPU.value]  # taken from in turn, so a busy node serves both
    return _worker(settings, f"gpu{index}", queues, settings.flow.max_videos, variables)


def _worker(settings: Settings, name: str, queues: list[str], threads: int, variables: dict[str, str]) -> ProcessSpec:
    argv = _tamis(
        "worker",
        f"--hostname={name}@{settings.node.name}",
        f"--queues={','.join(queues)}",
        "--pool=threads",
        f"--concurrency={threads}",
        f"--loglevel={settings.telemetry.log_level}",
        "--without-mingle",
    )
    health_file = settings.node.state_dir / "health" / f"{name}.json"
    return ProcessSpec(name, argv, variables | {"TAMIS_HEALTH_FILE": str(health_file)})


def _beat(settings: Settings, variables: dict[str, str]) -> ProcessSpec:
    return ProcessSpec("beat", _tamis("beat", f"--loglevel={settings.telemetry.log_level}"), variables)


def _tamis(*arguments: str) -> tuple[str, ...]:
    return (*TAMIS, *arguments)
