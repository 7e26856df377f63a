"""G0: upper limits of the device: rates of matrix products and copies."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch

from bench.accelerator.clock import measure
from bench.accelerator.setting import TERA, BenchSetting, FigureRow, Figures, attempt
from inference.models.torch_settings import float32_precision

GPU_SIDE, CPU_SIDE = 8192, 1024  # rows and columns
GPU_BYTES, CPU_BYTES = 2**30, 2**26


def ceilings(setting: BenchSetting) -> Iterator[FigureRow]:
    """The rate of large matrix products in each number format, and of copies."""
    for name, dtype, is_tf32 in _formats(setting):
        row = attempt(setting, f"GEMM {name}", _gemm(setting, dtype, is_tf32=is_tf32))
        if dtype is setting.dtype and not is_tf32:
            setting.gemm_tflops = _number(row, "TFLOP/s")
        yield row
    yield attempt(setting, "copy on the device", _copy(setting, setting.device, is_pinned=False))
    if setting.has_gpu:
        yield attempt(setting, "copy from pinned memory", _copy(setting, torch.device("cpu"), is_pinned=True))
        yield attempt(setting, "copy from pageable memory", _copy(setting, torch.device("cpu"), is_pinned=False))


def _formats(setting: BenchSetting) -> list[tuple[str, torch.dtype, bool]]:
    if not setting.has_gpu:
        return [("float32", torch.float32, False)]
    return [
        ("float16", torch.float16, False),
        ("bfloat16", torch.bfloat16, False),
        ("tf32", torch.float32, True),
        ("float32", torch.float32, False),
    ]


def _gemm(setting: BenchSetting, dtype: torch.dtype, *, is_tf32: bool) -> Callable[[], Figures]:
    side = GPU_SIDE if setting.has_gpu else CPU_SIDE

    def run() -> Figures:
        left, right = (torch.rand(side, side, device=setting.device).to(dtype) for _ in range(2))
        out = torch.empty_like(left)
        with float32_precision(is_tf32=is_tf32):
            timing = measure(lambda: torch.mm(left, right, out=out), setting.device, setting.seconds)
        return {"ms": 1e3 * timing.median_seconds, "TFLOP/s": 2 * side**3 / timing.median_seconds / TERA}

    return run


def _copy(setting: BenchSetting, source: torch.device, *, is_pinned: bool) -> Callable[[], Figures]:
    size_bytes = GPU_BYTES if setting.has_gpu else CPU_BYTES

    def run() -> Figures:
        held = torch.zeros(size_bytes, dtype=torch.uint8, device=source, pin_memory=is_pinned)
        place = torch.empty(size_bytes, dtype=torch.uint8, device=setting.device)
        timing = measure(lambda: place.copy_(held, non_blocking=True), setting.device, setting.seconds)
        return {"ms": 1e3 * timing.median_seconds, "GB/s": size_bytes / timing.median_seconds / 1e9}

    return run


def _number(row: FigureRow, name: str) -> float | None:
    found = row.figures.get(name)
    return float(found) if isinstance(found, int | float) else None
