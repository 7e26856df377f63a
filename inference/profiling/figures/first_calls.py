"""Name the cause of a slow first call of an input shape where it can be known, and the remedy."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch

from inference.profiling.figures.summary import FirstCall
from inference.profiling.options import ProfileOptions

SLOW_FACTOR, SLOW_MS = 1.5, 5.0  # a first call is worth a word above both
MIOPEN_DIRECTORY = Path("~/.config/miopen")


@dataclass(frozen=True, slots=True)
class FirstCallConditions:
    """What decides why a first call is slow."""

    device: str  # "cpu" or "cuda"
    is_rocm: bool = False
    is_cudnn_searching: bool = False  # torch.backends.cudnn.benchmark
    is_compiled: bool = False
    is_miopen_kept: bool = True  # MIOpen's directory can be written


@dataclass(frozen=True, slots=True)
class SlowFirstCall:
    """A first call that took longer than the later ones, its causes and what to do."""

    call: FirstCall
    causes: tuple[str, ...]
    remedies: tuple[str, ...]


def runtime_of(options: ProfileOptions) -> FirstCallConditions:
    """The runtime of a profile on this machine."""
    home = MIOPEN_DIRECTORY.expanduser()
    existing = next(path for path in (home, *home.parents) if path.exists())
    return FirstCallConditions(
        device=options.device.type,
        is_rocm=torch.version.hip is not None,
        is_cudnn_searching=torch.backends.cudnn.benchmark,
        is_compiled=options.enable_compile,
        is_miopen_kept=os.access(existing, os.W_OK),
    )


def explain(calls: tuple[FirstCall, ...], runtime: FirstCallConditions) -> list[SlowFirstCall]:
    """The calls that were slow, in order; a call without later ones to compare with is left out."""
    return [
        SlowFirstCall(call, tuple(_causes(call, runtime)), tuple(_remedies(call, runtime)))
        for call in calls
        if call.steady_ms and call.first_ms > max(SLOW_FACTOR * call.steady_ms, call.steady_ms + SLOW_MS)
    ]


def _causes(call: FirstCall, runtime: FirstCallConditions) -> Iterator[str]:
    if runtime.is_compiled:
        yield "torch.compile compiled for this shape"
    if runtime.device == "cpu":
        yield "first use of memory and oneDNN's preparation of its primitives; a CPU searches no kernels"
    elif runtime.is_rocm:
        yield "MIOpen searched and compiled kernels for this shape on the CPU, while the GPU was idle"
    elif runtime.is_cudnn_searching:
        yield "cuDNN tried its kernels for this shape (torch.backends.cudnn.benchmark)"
    else:
        yield "CUDA loaded kernels at their first use; cuDNN took one by its heuristic, without a search"
    if call.grown_bytes > 0:
        yield f"the allocator took {call.grown_bytes / 2**20:.0f} MiB more from the GPU"


def _remedies(call: FirstCall, runtime: FirstCallConditions) -> Iterator[str]:
    yield f"run one batch of this shape before the first video: {call.size} x {call.size} pixels, the full batch"
    if runtime.is_compiled:
        yield "keep the compiler's cache between starts: TORCHINDUCTOR_CACHE_DIR on a lasting disk"
    if runtime.device == "cuda" and runtime.is_rocm:
        state = "" if runtime.is_miopen_kept else f" ({MIOPEN_DIRECTORY} cannot be written: each start searches again)"
        yield f"keep MIOpen's results between starts: MIOPEN_USER_DB_PATH on a lasting disk that can be written{state}"
        yield "search less: MIOPEN_FIND_MODE=FAST"
    elif runtime.device == "cuda" and runtime.is_cudnn_searching:
        yield "few shapes: pad batches and sizes to fixed ones; or set torch.backends.cudnn.benchmark = False"
