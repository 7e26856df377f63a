"""The makers of GPUs that torch drives, each with the facts that differ: a file for each."""

from __future__ import annotations

import torch

from inference.models.accelerators.accelerator import Accelerator
from inference.models.accelerators.amd import AMD
from inference.models.accelerators.ascend import ASCEND
from inference.models.accelerators.nvidia import NVIDIA

__all__ = ["ACCELERATORS", "Accelerator", "accelerator_of"]

ACCELERATORS = (NVIDIA, AMD, ASCEND)


def accelerator_of(device: torch.device) -> Accelerator | None:
    """Return the maker's facts of a device; None for a CPU."""
    if device.type == ASCEND.kind:
        return ASCEND
    if device.type != NVIDIA.kind:
        return None
    return AMD if torch.version.hip else NVIDIA
