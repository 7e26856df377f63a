"""Recognition of device failures among the errors that torch raises."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from inference.errors import DeviceLost, Transient

# Texts of CUDA's libraries in a plain RuntimeError; after any of these the context cannot be used again.
LOST = ("CUDA error", "CUBLAS_STATUS", "CUDNN_STATUS", "cuDNN error", "NCCL error", "device-side assert")
FULL = ("out of memory", "can't allocate memory")


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
