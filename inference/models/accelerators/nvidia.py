"""NVIDIA's GPUs: torch's CUDA builds."""

from __future__ import annotations

import torch

from inference.models.accelerators.accelerator import Accelerator, can_record

HOPPER = (9, 0)  # compute capability


def kernel_order(capability: tuple[int, int]) -> tuple[str, ...]:
    """Names of attention kernels, best first, on a GPU of this compute capability.

    cuDNN's is faster from Hopper on: 412 against 322 TFLOP/s at a head size of 64 (Shah et al., "FlashAttention-3",
    arXiv:2407.08608, figure 5).
    """
    return (*(("cudnn", "flash") if capability >= HOPPER else ("flash", "cudnn")), "efficient", "math")


def _busy_ratio(device: torch.device) -> float | None:
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
    busy_ratio=_busy_ratio,
)
