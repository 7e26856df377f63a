"""The facts that differ between the makers of GPUs; all else is torch's and alike."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch


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
