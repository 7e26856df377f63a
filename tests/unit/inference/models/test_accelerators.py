"""The facts of each maker's GPUs: what can be read of them without the hardware."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from inference.errors import DeviceLost
from inference.models.accelerators import (
    AMD,
    ASCEND,
    NVIDIA,
    accelerator_of,
    kernel_order,
    pci_address,
    read_busy_ratio,
)
from inference.models.device import choose_device, choose_dtype, device_fault, device_info, device_load, is_gpu

CUDA, NPU, CPU = torch.device("cuda"), torch.device("privateuseone"), torch.device("cpu")


@pytest.fixture
def rocm(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let torch look like a ROCm build with one MI300X that is busy."""
    monkeypatch.setattr(torch.version, "hip", "7.0.1")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    found = SimpleNamespace(pci_domain_id=0, pci_bus_id=0xC1, pci_device_id=0, name="AMD Instinct MI300X")
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _device: found)


def test_a_gpu_of_a_rocm_build_is_amds_and_of_any_other_nvidias(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.version, "hip", None)
    assert accelerator_of(CUDA) is NVIDIA
    monkeypatch.setattr(torch.version, "hip", "7.0.1")
    assert accelerator_of(CUDA) is AMD
    assert accelerator_of(CPU) is None


@pytest.mark.parametrize(
    ("capability", "first"), [((9, 0), "cudnn"), ((10, 0), "cudnn"), ((8, 0), "flash"), ((7, 5), "flash")]
)
def test_cudnns_kernel_is_first_from_hopper_on(capability: tuple[int, int], first: str) -> None:
    order = kernel_order(capability)
    assert order[0] == first
    assert sorted(order) == ["cudnn", "efficient", "flash", "math"]


def test_amds_kernels_hold_none_of_nvidias_whatever_capability_the_device_states() -> None:
    assert AMD.kernels(CUDA) == ("flash", "efficient", "math")


@pytest.mark.usefixtures("rocm")
def test_a_rocm_device_is_chosen_measured_and_named_with_its_version(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _device: (64 * 2**30, 192 * 2**30))
    device = choose_device("auto")
    assert (device.type, is_gpu(device), choose_dtype("auto", device)) == ("cuda", True, torch.float16)
    assert "ROCm 7.0.1" in AMD.versions()
    assert AMD.busy_ratio(device) is None  # this machine has no such device in /sys


def test_the_load_of_an_amd_gpu_is_read_from_the_kernels_driver(tmp_path: Path) -> None:
    address = pci_address(0, 0xC1, 0)
    assert address == "0000:c1:00.0"
    (tmp_path / address).mkdir()
    assert read_busy_ratio(address, tmp_path) is None
    (tmp_path / address / "gpu_busy_percent").write_text("37\n")
    assert read_busy_ratio(address, tmp_path) == pytest.approx(0.37)


@pytest.mark.parametrize(
    "text",
    [
        "HIP error: an illegal memory access was encountered",
        "miopenStatusUnknownError",
        "HIPBLAS_STATUS_INTERNAL_ERROR",
        "NPU function error: aclrtSynchronizeStream",
        "CUDA error: unspecified launch failure",
    ],
)
def test_every_makers_fatal_error_ends_the_worker_and_keeps_the_row(text: str) -> None:
    assert isinstance(device_fault(RuntimeError(text)), DeviceLost)


def test_ascends_devices_are_unknown_without_torch_npu() -> None:
    assert "not installed" in ASCEND.versions()
    with pytest.raises(Exception, match=r"device npu is not on this machine \(0 GPUs are\)"):
        choose_device("npu")


def test_a_cpu_has_no_load_and_says_its_threads() -> None:
    assert device_load(CPU) is None
    assert "threads" in device_info(CPU)
