"""The GPUs of this machine, found without loading torch, and the variables that limit a process to one of them."""

from __future__ import annotations

import re
import runpy
import shutil
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from tasks.settings import Settings, visible_devices

ROOT = Path("/")
KFD_NODES = "sys/class/kfd/kfd/topology/nodes"  # AMD's kernel driver: one folder for each processor, CPUs included
ASCEND_DEVICE = re.compile(r"davinci(\d+)")


@dataclass(frozen=True, slots=True)
class NodeGpu:
    """A GPU that a worker may use, and the variables that limit a process to it."""

    maker: str
    kind: str  # torch's device type
    variables: dict[str, str]


@dataclass(frozen=True, slots=True)
class Maker:
    """A maker of GPUs: how its devices are found and how a process is limited to some of them."""

    name: str
    build: str  # the build of PyTorch that drives them
    find: Callable[[Path], list[str]]  # the root directory -> indices of the devices
    variable: str  # limits a process to the devices that it lists
    aliases: tuple[str, ...] = ()  # other variables with that meaning, which an operator or a scheduler may have set
    outer: str = ""  # a variable that hides devices before ``variable`` counts them
    constants: tuple[tuple[str, str], ...] = ()  # set for each worker, too
    kind: str = "cuda"  # torch's device type


@dataclass(frozen=True, slots=True)
class Devices:
    """The GPUs that workers of this machine use, and a problem if there are GPUs that PyTorch cannot use."""

    gpus: tuple[NodeGpu, ...] = ()
    problem: str = ""
    remedy: str = ""

    def __str__(self) -> str:
        return f"{len(self.gpus)} {self.gpus[0].maker} GPU{'s'[: len(self.gpus) > 1]}" if self.gpus else "no GPU"


def usable_devices(settings: Settings) -> Devices:
    """Return the GPUs that the workers of this machine use with these settings."""
    return find_devices(visible_devices(VISIBILITY)) if settings.models.device != "cpu" else Devices()


def find_devices(environ: Mapping[str, str], root: Path = ROOT, build: str | None = None) -> Devices:
    """Return the GPUs of the maker that the installed PyTorch was built for.

    ``environ`` may limit them, as a scheduler does with ``CUDA_VISIBLE_DEVICES``. ``build`` is a maker's name, empty
    for a CPU build; default: that of the installed PyTorch.
    """
    build = torch_build() if build is None else build
    found = {maker.name: usable for maker in MAKERS if (usable := _usable(maker, environ, root))}
    if gpus := found.get(build or ""):
        return Devices(tuple(gpus))
    if build is None or not found:
        return Devices()
    name, others = next(iter(found.items()))
    needed = next(maker.build for maker in MAKERS if maker.name == name)
    here = f"{len(others)} {name} {'GPU is' if len(others) == 1 else 'GPUs are'} here"
    is_for = f"the installed PyTorch is built for {build or 'the CPU alone'}"
    return Devices((), f"{here}, and {is_for}", f"install {needed} (docs/deployment.md), or set TAMIS_DEVICE=cpu")


def torch_build() -> str | None:
    """Return the maker whose GPUs the installed PyTorch drives; empty for a CPU build, None without PyTorch.

    Its ``version.py`` is read alone: importing torch takes seconds.
    """
    if find_spec("torch_npu") is not None:
        return ASCEND.name
    spec = find_spec("torch")
    if spec is None or spec.origin is None:
        return None
    version = runpy.run_path(str(Path(spec.origin).with_name("version.py")))
    if version.get("hip"):
        return AMD.name
    return NVIDIA.name if version.get("cuda") else ""


def _usable(maker: Maker, environ: Mapping[str, str], root: Path) -> list[NodeGpu]:
    names = maker.find(root)
    if names and (outer := environ.get(maker.outer)) is not None:
        names = [str(index) for index in range(len(_listed(outer)))]
    chosen = next((environ[name] for name in (maker.variable, *maker.aliases) if name in environ), None)
    if names and chosen is not None:
        names = _listed(chosen)
    return [NodeGpu(maker.name, maker.kind, {**dict(maker.constants), maker.variable: name}) for name in names]


def _listed(value: str) -> list[str]:
    """Return the devices that a variable lists. A negative number ends the list, as in the makers' own reading."""
    names: list[str] = []
    for name in (part.strip() for part in value.split(",")):
        if not name or name.startswith("-"):
            break
        names.append(name)
    return names


def _find_nvidia(_root: Path) -> list[str]:
    if shutil.which("nvidia-smi") is None:
        return []
    answer = subprocess.run(
        ["nvidia-smi", "--query-gpu=index", "--format=csv,noheader"],  # noqa: S607 -- found on the PATH just now
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )
    return answer.stdout.split() if answer.returncode == 0 else []


def _find_amd(root: Path) -> list[str]:
    """Count the GPUs in the kernel driver's list: no tool of ROCm need be installed. CPUs have the identifier 0."""
    if not (root / "dev/kfd").exists():
        return []
    nodes = (root / KFD_NODES).glob("[0-9]*/gpu_id")
    return [str(index) for index in range(sum(_read_number(node) > 0 for node in nodes))]


def _read_number(path: Path) -> int:
    try:
        return int(path.read_text(encoding="ascii"))
    except (OSError, ValueError):  # a container may not read the devices that it was not given
        return 0


def _find_ascend(root: Path) -> list[str]:
    numbers = [found[1] for path in (root / "dev").glob("davinci*") if (found := ASCEND_DEVICE.fullmatch(path.name))]
    return sorted(numbers, key=int)


# HIP_VISIBLE_DEVICES and not ROCR_VISIBLE_DEVICES: torch finds a device's load by the former alone.
NVIDIA = Maker(
    "NVIDIA",
    "PyTorch's CUDA build",
    _find_nvidia,
    "CUDA_VISIBLE_DEVICES",
    constants=(("CUDA_DEVICE_ORDER", "PCI_BUS_ID"),),  # nvidia-smi's order; CUDA's own puts the fastest first
)
AMD = Maker(
    "AMD",
    "PyTorch's ROCm build",
    _find_amd,
    "HIP_VISIBLE_DEVICES",
    aliases=("CUDA_VISIBLE_DEVICES",),
    outer="ROCR_VISIBLE_DEVICES",
)
ASCEND = Maker("Ascend", "torch_npu", _find_ascend, "ASCEND_RT_VISIBLE_DEVICES", kind="npu")
MAKERS = (NVIDIA, AMD, ASCEND)
VISIBILITY = tuple(dict.fromkeys(name for maker in MAKERS for name in (maker.variable, *maker.aliases, maker.outer)))
