"""The device of the models: its choice, name, load and number format, and its failures among the errors of torch."""

from __future__ import annotations

import platform
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from inference.errors import DeviceLost, ManifestError, Transient
from inference.models.accelerators import ACCELERATORS, accelerator_of

if TYPE_CHECKING:  # this module runs without pydantic
    from inference.manifest.fields import DtypeName

DTYPES = {"float32": torch.float32, "tf32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}

# Phrases of the makers' libraries in a plain RuntimeError; after any of these the device cannot be used again.
LOST = tuple(phrase for accelerator in ACCELERATORS for phrase in accelerator.lost)
GPU_KINDS = tuple(dict.fromkeys(accelerator.kind for accelerator in ACCELERATORS))  # torch's device types
FULL = ("out of memory", "can't allocate memory")


def choose_device(name: str) -> torch.device:
    """Return the device ``name``: ``"auto"`` (a GPU if there is one), ``"cpu"``, ``"cuda"`` or ``"cuda:<n>"``.

    ROCm's builds of torch call AMD's GPUs ``cuda``; torch_npu calls Ascend's ``npu``.

    Raises:
        ManifestError: there is no such device here.
    """
    if name == "auto":
        name = next((kind for kind in GPU_KINDS if device_count(kind)), "cpu")
    kind, _, index = name.partition(":")
    if kind == "cpu" and not index:
        return torch.device("cpu")
    if kind not in GPU_KINDS or not (index or "0").isdecimal():
        raise ManifestError(f"device {name!r} is unknown; choose auto, cpu, cuda or cuda:<number>, npu or npu:<number>")
    if int(index or 0) >= (count := device_count(kind)):
        raise ManifestError(f"device {name} is not on this machine ({count} GPUs are); choose auto or cpu")
    return torch.device(kind, int(index or 0))


def device_count(kind: str) -> int:
    """Return the number of usable GPUs of a torch device type; 0 if this torch does not know the type."""
    try:
        module = torch.get_device_module(kind)
    except RuntimeError:  # npu without torch_npu
        return 0
    return int(module.device_count()) if module.is_available() else 0


def is_gpu(device: torch.device) -> bool:
    """Return whether the device is a GPU of any maker."""
    return device.type in GPU_KINDS


def give_back_memory() -> None:
    """Return the unused memory that torch keeps on its GPU to the driver; no effect without a GPU."""
    if torch.accelerator.is_available():
        torch.accelerator.empty_cache()


def choose_dtype(name: DtypeName, device: torch.device) -> torch.dtype:
    """Return the dtype ``name``. ``auto`` is float16 on a GPU, 2-4 times as fast there, and float32 on a CPU."""
    if name == "auto":
        return torch.float16 if is_gpu(device) else torch.float32
    return DTYPES[name]


def device_name(device: torch.device) -> str:
    """The maker's name of the device."""
    return str(torch.get_device_module(device).get_device_name(device)) if is_gpu(device) else _processor_name()


def device_info(device: torch.device, threads: int | None = None) -> str:
    """Kind, size and versions of the device, in one line: enough to repeat a result.

    ``threads`` is the number of CPU threads, by default torch's.
    """
    accelerator = accelerator_of(device)
    if accelerator is None:
        return f"cpu, {threads or torch.get_num_threads()} threads, torch {torch.__version__}"
    memory_gib = accelerator.memory(device)[1] / 2**30
    return f"{device}, {memory_gib:.0f} GiB, torch {torch.__version__}, {accelerator.versions()}"


@dataclass(frozen=True, slots=True)
class DeviceLoad:
    """Load of a GPU by all processes."""

    used_bytes: int
    total_bytes: int
    busy_ratio: float | None  # of the driver's last sample period; None if unknown


def device_load(device: torch.device) -> DeviceLoad | None:
    """Current load of a GPU; None for a CPU, and for a GPU that fails: a measurement must not end a worker."""
    accelerator = accelerator_of(device)
    if accelerator is None:
        return None
    try:
        free_bytes, total_bytes = accelerator.memory(device)
        return DeviceLoad(total_bytes - free_bytes, total_bytes, accelerator.busy_ratio(device))
    except RuntimeError:
        return None


def _processor_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:  # not Linux
        return platform.processor() or platform.machine()
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.machine())


def device_fault(error: BaseException) -> Transient | None:
    """Convert ``error`` to a Transient error; None when it is not a failure of the device."""
    if isinstance(error, Transient):
        return error
    if not isinstance(error, RuntimeError):
        return None
    text = str(error)
    if is_memory_full(error):
        return Transient(f"the device's memory is full ({_first_line(text)}); lower the batch size or the concurrency")
    if isinstance(error, torch.AcceleratorError) or any(phrase in text for phrase in LOST):
        return DeviceLost(f"the device failed ({_first_line(text)}); restart this worker")
    return None


def is_memory_full(error: BaseException | None) -> bool:
    """Check if the device or the host had no memory left; a smaller batch may fit."""
    if isinstance(error, torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and any(phrase in str(error) for phrase in FULL)


@contextmanager
def device_faults() -> Iterator[None]:
    """Raise failures of the device as Transient or DeviceLost, and every other error unchanged."""
    try:
        yield
    except RuntimeError as error:
        fault = device_fault(error)
        if fault is None:
            raise
        raise fault from error


def _first_line(text: str) -> str:
    return text.strip().splitlines()[0][:200] if text.strip() else "no message"
