"""Huawei's Ascend NPUs: the package ``torch_npu``, which torch loads by itself and which names them "npu"."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version

import torch

from inference.models.accelerators.accelerator import Accelerator


def _versions() -> str:
    try:
        return f"torch_npu {version('torch_npu')}"
    except PackageNotFoundError:
        return "torch_npu is not installed"


def _memory(device: torch.device) -> tuple[int, int]:
    free_bytes, total_bytes = torch.get_device_module("npu").mem_get_info(device)
    return free_bytes, total_bytes


ASCEND = Accelerator(
    kind="npu",
    lost=("NPU error", "NPU function error", "AclNN", "HCCL error"),
    versions=_versions,
    kernels=lambda _device: (),  # torch_npu chooses by itself
    has_graphs=lambda: False,
    memory=_memory,
    busy_ratio=lambda _device: None,
)
