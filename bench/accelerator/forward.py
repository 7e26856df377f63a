"""G1: forward of a backbone, by batch size, variant and attention kernel."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor
from torch.nn.attention import sdpa_kernel

from bench.accelerator.clock import measure, measure_once
from bench.accelerator.encoder import build_model, noise
from bench.accelerator.setting import BenchSetting, FigureRow, Figures, attempt
from inference.models.compilation import CudaCapture, GraphedFeatures, compile_layers
from inference.models.networks.video_model import Features
from inference.models.torch_settings import KERNELS

DEFAULT = "torch's choice"
ATTENTION = ("cudnn", "flash", "efficient")


def forward(setting: BenchSetting) -> Iterator[FigureRow]:
    """Measure every kernel with cached tables, the other variants with the best kernel, then with the other kernels."""
    cached = build_model(setting.shape, setting.device, setting.dtype).features
    stock = build_model(setting.shape, setting.device, setting.dtype, is_cached=False).features
    if not setting.has_gpu:
        yield from _sizes(setting, "stock", stock, DEFAULT)
        yield from _sizes(setting, "cached tables", cached, DEFAULT)
        setting.notes.append("G1: torch.compile, CUDA graphs and a choice of attention kernels need a GPU: not run")
        return
    rows = {kernel: list(_sizes(setting, "cached tables", cached, kernel)) for kernel in (*ATTENTION, DEFAULT)}
    for found in rows.values():
        yield from found
    best = min(rows, key=lambda kernel: _best(rows[kernel]))
    setting.best_attention = best
    yield from _sizes(setting, "stock", stock, best)
    yield from _sizes(setting, "cached tables + graph", GraphedFeatures(cached, CudaCapture()), best)
    yield from _compiled(setting, best)
    for kernel in rows:
        if kernel != best:
            yield from _sizes(setting, "stock", stock, kernel)
            yield from _sizes(setting, "cached tables + graph", GraphedFeatures(cached, CudaCapture()), kernel)


def _compiled(setting: BenchSetting, kernel: str) -> Iterator[FigureRow]:
    """Measure compiled layers without and with a graph. The kernel is fixed at compilation."""
    model = build_model(setting.shape, setting.device, setting.dtype)
    compile_layers(model.backbone, len(setting.batch_sizes))
    yield from _sizes(setting, "compiled layers", model.features, kernel)
    yield from _sizes(setting, "compiled layers + graph", GraphedFeatures(model.features, CudaCapture()), kernel)


def _sizes(setting: BenchSetting, variant: str, features: Features, kernel: str) -> Iterator[FigureRow]:
    clips = noise(setting.shape, 1).to(setting.device).expand(max(setting.batch_sizes), -1, -1, -1, -1).contiguous()
    for size in setting.batch_sizes:
        yield attempt(setting, f"{variant}, {kernel}, B={size}", _forward(setting, features, kernel, clips[:size]))


def _forward(setting: BenchSetting, features: Features, kernel: str, batch: Tensor) -> Callable[[], Figures]:
    def run() -> Figures:
        size = len(batch)
        with torch.inference_mode(), _only(kernel):
            cold = measure_once(lambda: features(batch), setting.device)
            timing = measure(lambda: features(batch), setting.device, setting.seconds)
        return {
            "ms/clip": 1e3 * timing.median_seconds / size,
            "least": 1e3 * timing.least_seconds / size,
            "most": 1e3 * timing.most_seconds / size,
            **setting.rates(size / timing.median_seconds),
            "first call s": cold,
        }

    return run


def _only(kernel: str) -> AbstractContextManager[None]:
    return nullcontext() if kernel == DEFAULT else sdpa_kernel([KERNELS[kernel]])


def _best(rows: list[FigureRow]) -> float:
    """Smallest milliseconds per clip; infinite without a measurement."""
    return min((float(row.figures.get("ms/clip", "inf")) for row in rows), default=float("inf"))
