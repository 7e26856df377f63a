"""The makers of GPUs that torch drives, and the facts that differ between them; all else is torch's and alike."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

HOPPER = (9, 0)  # compute capability
PCI_DEVICES = Path("/sys/bus/pci/devices")


@dataclass(frozen=True, slots=True)
class Accelerator:
    """One maker's GPUs as torch shows them.

    Attributes:
        kind: torch's device type.
        lost: phrases in the text of a RuntimeError after which a process cannot use the device again.
        versions: return the name and version of the maker's libraries that torch was built with.
        kernels: return the names of the attention kernels of this build on a device, best first.
        has_graphs: return whether this build records kernels and replays them ("CUDA graphs").
        memory: return the free and the total bytes of a device.
        busy_ratio: return the share of the driver's last sample period in which a device worked; None if unknown.
    """

    kind: str
    lost: tuple[str, ...]
    versions: Callable[[], str]
    kernels: Callable[[torch.device], tuple[str, ...]]
    has_graphs: Callable[[], bool]
    memory: Callable[[torch.device], tuple[int, int]]
    busy_ratio: Callable[[torch.device], float | None]


def can_record() -> bool:
    """Return whether this build of torch has the recorder of CUDA graphs, which ROCm's builds have under that name."""
    return hasattr(torch._C, "_CUDAGraph")  # noqa: SLF001 -- torch.cuda.CUDAGraph exists, as a stub, in every build


def kernel_order(capability: tuple[int, int]) -> tuple[str, ...]:
    """Names of attention kernels, best first, on a GPU of this compute capability.

    cuDNN's is faster from Hopper on: 412 against 322 TFLOP/s at a head size of 64 (Shah et al., "FlashAttention-3",
    arXiv:2407.08608, figure 5).
    """
    return (*(("cudnn", "flash") if capability >= HOPPER else ("flash", "cudnn")), "efficient", "math")


def _nvidia_busy_ratio(device: torch.device) -> float | None:
    try:
        return float(torch.cuda.utilization(device)) / 100
    except (RuntimeError, ModuleNotFoundError):  # torch reads it from NVML, which needs nvidia-ml-py
        return None


NVIDIA = Accelerator(
    kind="cuda",
    lost=("CUDA error", "CUBLAS_STATUS", "CUDNN_STATUS", "cuDNN error", "NCCL error", "device-side assert"),
    versions=lambda: f"CUDA {torch.version.cuda}",
    kernels=lambda device: kernel_order(torch.cuda.get_device_capability(device)),
    has_graphs=can_record,
    memory=torch.cuda.mem_get_info,
    busy_ratio=_nvidia_busy_ratio,
)


def pci_address(domain: int, bus: int, slot: int) -> str:
    """Return the address of a device's first function as Linux writes it, as in ``0000:c1:00.0``."""
    return f"{domain:04x}:{bus:02x}:{slot:02x}.0"


def read_busy_ratio(address: str, root: Path = PCI_DEVICES) -> float | None:
    """Return the share that the kernel's driver (amdgpu) reports, 0 to 1; None if it reports none.

    ``gpu_busy_percent``: https://docs.kernel.org/gpu/amdgpu/thermal.html
    """
    try:
        return int((root / address / "gpu_busy_percent").read_text(encoding="ascii")) / 100
    except (OSError, ValueError):
        return None


def _amd_busy_ratio(device: torch.device) -> float | None:
    found: Any = torch.cuda.get_device_properties(device)  # torch's types lack its PCI fields
    return read_busy_ratio(pci_address(found.pci_domain_id, found.pci_bus_id, found.pci_device_id))


AMD = replace(  # torch's ROCm builds, which call the devices "cuda" too
    NVIDIA,
    lost=("HIP error", "HIPBLAS_STATUS", "rocblas_status", "MIOPEN", "miopenStatus", "RCCL error"),
    versions=lambda: f"ROCm {torch.version.hip}",
    kernels=lambda _device: ("flash", "efficient", "math"),  # cuDNN is NVIDIA's
    busy_ratio=_amd_busy_ratio,
)


def _npu_versions() -> str:
    try:
        return f"torch_npu {version('torch_npu')}"
    except PackageNotFoundError:
        return "torch_npu is not installed"


def _npu_memory(device: torch.device) -> tuple[int, int]:
    free_bytes, total_bytes = torch.get_device_module("npu").mem_get_info(device)
    return free_bytes, total_bytes


ASCEND = Accelerator(  # Huawei's NPUs: the package torch_npu, which torch loads by itself and which names them "npu"
    kind="npu",
    lost=("NPU error", "NPU function error", "AclNN", "HCCL error"),
    versions=_npu_versions,
    kernels=lambda _device: (),  # torch_npu chooses by itself
    has_graphs=lambda: False,
    memory=_npu_memory,
    busy_ratio=lambda _device: None,
)

ACCELERATORS = (NVIDIA, AMD, ASCEND)


def accelerator_of(device: torch.device) -> Accelerator | None:
    """Return the maker's facts of a device; None for a CPU."""
    if device.type == ASCEND.kind:
        return ASCEND
    if device.type != NVIDIA.kind:
        return None
    return AMD if torch.version.hip else NVIDIA
