"""Settings of torch for the whole process: preferred attention kernels and float32 precision."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

from inference.models.accelerators import accelerator_of

KERNELS = {
    "cudnn": SDPBackend.CUDNN_ATTENTION,
    "flash": SDPBackend.FLASH_ATTENTION,
    "efficient": SDPBackend.EFFICIENT_ATTENTION,
    "math": SDPBackend.MATH,
}

logger = logging.getLogger(__name__)


def attention_order(preferred: str, names: Sequence[str]) -> list[SDPBackend]:
    """Kernels to try, best first: ``names`` in their order, but ``preferred`` before all unless it is ``"auto"``.

    All are listed, so that a shape that the first kernel refuses is still computed. A preferred kernel that the build
    lacks is left out, and a warning says so.
    """
    if preferred not in {"auto", *names}:
        logger.warning("this build of torch has no attention kernel %r: %s is tried first", preferred, names[0])
    return [KERNELS[name] for name in sorted(names, key=lambda name: name != preferred)]  # a stable sort


@contextmanager
def attention_kernels(preferred: str, device: torch.device) -> Iterator[None]:
    """Prefer these kernels on ``device`` in all threads, where torch offers a choice: not on a CPU."""
    accelerator = accelerator_of(device)
    names = accelerator.kernels(device) if accelerator else ()
    if not names:
        yield
        return
    with sdpa_kernel(attention_order(preferred, names), set_priority=True):
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
