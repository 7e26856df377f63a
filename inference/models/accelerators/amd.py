"""AMD's GPUs: torch's ROCm builds, which call them "cuda" too."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from inference.models.accelerators.accelerator import Accelerator, can_record

PCI_DEVICES = Path("/sys/bus/pci/devices")


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


def _busy_ratio(device: torch.device) -> float | None:
    found: Any = torch.cuda.get_device_properties(device)  # torch's types lack its PCI fields
    return read_busy_ratio(pci_address(found.pci_domain_id, found.pci_bus_id, found.pci_device_id))


AMD = Accelerator(
    kind="cuda",
    lost=("HIP error", "HIPBLAS_STATUS", "rocblas_status", "MIOPEN", "miopenStatus", "RCCL error"),
    versions=lambda: f"ROCm {torch.version.hip}",
    kernels=lambda _device: ("flash", "efficient", "math"),  # cuDNN is NVIDIA's
    has_graphs=can_record,
    memory=torch.cuda.mem_get_info,
    busy_ratio=_busy_ratio,
)
