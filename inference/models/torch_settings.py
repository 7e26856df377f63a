"""Settings of torch for the whole process: preferred attention kernels and float32 precision."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

KERNELS = {
    "cudnn": SDPBackend.CUDNN_ATTENTION,
    "flash": SDPBackend.FLASH_ATTENTION,
    "efficient": SDPBackend.EFFICIENT_ATTENTION,
    "math": SDPBackend.MATH,
}
HOPPER = (9, 0)  # compute capability


def attention_order(preferred: str, capability: tuple[int, int]) -> list[SDPBackend]:
    """Kernels to try, best first; ``preferred`` is one of :data:`KERNELS` or ``"auto"``.

    cuDNN's is faster from Hopper on: 412 against 322 TFLOP/s at a head size of 64 (Shah et al., "FlashAttention-3",
    arXiv:2407.08608, figure 5). All are listed, so that a shape that the first kernel refuses is still computed.
    """
    names = ["cudnn", "flash"] if capability >= HOPPER else ["flash", "cudnn"]
    names = [*names, "efficient", "math"]
    if preferred != "auto":
        names.sort(key=lambda name: name != preferred)  # a stable sort: the others keep their order
    return [KERNELS[name] for name in names]


@contextmanager
def attention_kernels(preferred: str, device: torch.device) -> Iterator[None]:
    """Prefer these kernels on ``device`` in all threads; a CPU has only one kernel."""
    if device.type != "cuda":
        yield
        return
    with sdpa_kernel(attention_order(preferred, torch.cuda.get_device_capability(device)), set_priority=True):
        yield


@contextmanager
def float32_precision(*, is_tf32: bool) -> Iterator[None]:
    """Multiply float32 on a GPU with 10 mantissa bits (TF32, about 8 times as fast), or with all 23."""
    matmul, cudnn = torch.backends.cuda.matmul, torch.backends.cudnn
    before = matmul.allow_tf32, cudnn.allow_tf32
    matmul.allow_tf32 = cudnn.allow_tf32 = is_tf32
    try:
        yield
    finally:
        matmul.allow_tf32, cudnn.allow_tf32 = before


def hold_settings(preferred: str, dtypes: Iterable[str], device: torch.device) -> ExitStack:
    """Enter both settings, for models with these dtypes of the manifest, until the stack is closed."""
    with ExitStack() as stack:
        stack.enter_context(attention_kernels(preferred, device))
        stack.enter_context(float32_precision(is_tf32="tf32" in dtypes))
        return stack.pop_all()
