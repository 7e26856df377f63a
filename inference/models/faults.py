"""Which failures are the device's, and not the video's or ours."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from inference.errors import DeviceLost, Transient

# What CUDA's libraries say through a plain RuntimeError; after any of these the context cannot be used again.
LOST = ("CUDA error", "CUBLAS_STATUS", "CUDNN_STATUS", "cuDNN error", "NCCL error", "device-side assert")
FULL = ("out of memory", "can't allocate memory")


def device_fault(error: BaseException) -> Transient | None:
    """The transient error that stands for ``error``; None when it is not the device's fault."""
    if isinstance(error, Transient):
        return error
    if not isinstance(error, RuntimeError):
        return None
    text = str(error)
    if is_memory_full(error):
        return Transient(f"the device's memory is full ({_first_line(text)}); lower the batch size or the concurrency")
    if isinstance(error, torch.AcceleratorError) or any(sign in text for sign in LOST):
        return DeviceLost(f"the device failed ({_first_line(text)}); restart this worker")
    return None


def is_memory_full(error: BaseException | None) -> bool:
    """Whether the device, or the host, had no memory left: less work at a time may fit."""
    if isinstance(error, torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and any(sign in str(error) for sign in FULL)


@contextmanager
def device_faults() -> Iterator[None]:
    """Raise the device's failures as Transient or DeviceLost; let everything else pass."""
    try:
        yield
    except RuntimeError as error:
        fault = device_fault(error)
        if fault is None:
            raise
        raise fault from error


def _first_line(text: str) -> str:
    return text.strip().splitlines()[0][:200] if text.strip() else "no message"
