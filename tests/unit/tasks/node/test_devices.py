"""GPUs of every maker, found with stand-ins for their tools and the kernel's files: no such hardware is here."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tasks.node import devices
from tasks.node.devices import find_devices, torch_build

KFD = "sys/class/kfd/kfd/topology/nodes"


@pytest.fixture(autouse=True)
def tools(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the only folder of programs: empty, so that this machine's own tools are not asked."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    return folder


def nvidia_smi(folder: Path, answer: str, status: int = 0) -> None:
    """Install a stand-in for NVIDIA's tool."""
    tool = folder / "nvidia-smi"
    tool.write_text(f"#!{sys.executable}\nprint({answer!r})\nraise SystemExit({status})\n")
    tool.chmod(0o755)


def amd_host(root: Path, gpu_ids: list[str], *, has_driver: bool = True) -> Path:
    """Write the list of AMD's kernel driver: a CPU, then a node for each identifier."""
    for number, text in enumerate(["0", *gpu_ids]):
        node = root / KFD / str(number)
        node.mkdir(parents=True)
        (node / "gpu_id").write_text(f"{text}\n")
    if has_driver:
        (root / "dev").mkdir()
        (root / "dev/kfd").touch()
    return root


def variables(found: devices.Devices) -> list[dict[str, str]]:
    """Return each GPU's variables."""
    return [gpu.variables for gpu in found.gpus]


def test_nvidias_gpus_are_those_of_its_tool_in_its_order(tools: Path, tmp_path: Path) -> None:
    nvidia_smi(tools, "0\n1")
    found = find_devices({}, tmp_path, "NVIDIA")
    assert variables(found) == [{"CUDA_DEVICE_ORDER": "PCI_BUS_ID", "CUDA_VISIBLE_DEVICES": index} for index in "01"]
    assert str(found) == "2 NVIDIA GPUs"


def test_a_tool_without_a_driver_means_no_gpu(tools: Path, tmp_path: Path) -> None:
    nvidia_smi(tools, "NVIDIA-SMI has failed because it could not communicate with the driver", status=9)
    assert find_devices({}, tmp_path, "NVIDIA") == devices.Devices()


def test_amds_gpus_are_found_without_any_tool_and_each_worker_sees_its_own(tmp_path: Path) -> None:
    found = find_devices({}, amd_host(tmp_path, ["51140", "9731"]), "AMD")
    assert variables(found) == [{"HIP_VISIBLE_DEVICES": "0"}, {"HIP_VISIBLE_DEVICES": "1"}]
    assert (str(found), found.problem) == ("2 AMD GPUs", "")


def test_a_container_without_the_drivers_device_has_no_gpu_though_the_list_shows_the_hosts(tmp_path: Path) -> None:
    assert find_devices({}, amd_host(tmp_path, ["51140"], has_driver=False), "AMD") == devices.Devices()


@pytest.mark.parametrize(
    ("environ", "seen"),
    [
        ({"HIP_VISIBLE_DEVICES": "1"}, ["1"]),
        ({"CUDA_VISIBLE_DEVICES": "1,0"}, ["1", "0"]),
        ({"HIP_VISIBLE_DEVICES": "0", "CUDA_VISIBLE_DEVICES": "1"}, ["0"]),
        ({"ROCR_VISIBLE_DEVICES": "1"}, ["0"]),  # HIP counts what ROCr left
        ({"HIP_VISIBLE_DEVICES": ""}, []),
        ({"HIP_VISIBLE_DEVICES": "0,-1,1"}, ["0"]),
    ],
)
def test_a_scheduler_may_give_this_node_only_some_of_the_gpus(
    tmp_path: Path, environ: dict[str, str], seen: list[str]
) -> None:
    found = find_devices(environ, amd_host(tmp_path, ["51140", "9731"]), "AMD")
    assert [gpu["HIP_VISIBLE_DEVICES"] for gpu in variables(found)] == seen


def test_ascends_devices_are_in_numeric_order(tmp_path: Path) -> None:
    (tmp_path / "dev").mkdir()
    for name in ("davinci10", "davinci2", "davinci_manager"):
        (tmp_path / "dev" / name).touch()
    found = find_devices({}, tmp_path, "Ascend")
    assert [(gpu.kind, gpu.variables) for gpu in found.gpus] == [
        ("npu", {"ASCEND_RT_VISIBLE_DEVICES": "2"}),
        ("npu", {"ASCEND_RT_VISIBLE_DEVICES": "10"}),
    ]


@pytest.mark.parametrize(("build", "name"), [("NVIDIA", "NVIDIA"), ("", "the CPU alone")])
def test_gpus_that_the_installed_torch_cannot_use_are_a_problem_with_a_remedy(
    tmp_path: Path, build: str, name: str
) -> None:
    found = find_devices({}, amd_host(tmp_path, ["51140"]), build)
    assert not found.gpus
    assert found.problem == f"1 AMD GPU is here, and the installed PyTorch is built for {name}"
    assert "PyTorch's ROCm build" in found.remedy


def test_of_two_makers_the_one_of_the_installed_torch_is_used(tools: Path, tmp_path: Path) -> None:
    nvidia_smi(tools, "0")
    root = amd_host(tmp_path, ["51140"])
    assert find_devices({}, root, "AMD").gpus[0].maker == "AMD"
    assert find_devices({}, root, "NVIDIA").gpus[0].maker == "NVIDIA"


@pytest.mark.parametrize(
    ("text", "build"),
    [
        ("cuda = '13.0'\nhip = None", "NVIDIA"),
        ("cuda = None\nhip = '7.0.51831'", "AMD"),
        ("cuda = None\nhip = None", ""),
    ],
)
def test_the_build_is_read_from_torchs_version_file_and_torch_is_not_imported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, build: str
) -> None:
    package = tmp_path / "torch"
    package.mkdir()
    (package / "__init__.py").write_text("raise ImportError('torch was imported')")
    (package / "version.py").write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "torch", raising=False)
    assert torch_build() == build
