"""G1: one backbone's forward, by batch size, by what is changed about it, and by attention kernel."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor
from torch.nn.attention import sdpa_kernel

from bench.accelerator.clock import measure, measure_once
from bench.accelerator.encoder import build_model, noise
from bench.accelerator.setting import Figures, Row, Setting, attempt
from inference.models.graphs import CudaCapture, GraphedFeatures
from inference.models.layers import compile_layers
from inference.models.torch_settings import KERNELS
from inference.models.video_model import Features

DEFAULT = "torch's choice"
ATTENTION = ("cudnn", "flash", "efficient")


def forward(setting: Setting) -> Iterator[Row]:
    """Every kernel with cached tables first; the rest with the best of them; then the rest of the cross."""
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


def _compiled(setting: Setting, kernel: str) -> Iterator[Row]:
    """By layer; the graph on top runs what was compiled. The kernel is fixed when compiling."""
    model = build_model(setting.shape, setting.device, setting.dtype)
    compile_layers(model.backbone, len(setting.batch_sizes))
    yield from _sizes(setting, "compiled layers", model.features, kernel)
    yield from _sizes(setting, "compiled layers + graph", GraphedFeatures(model.features, CudaCapture()), kernel)


def _sizes(setting: Setting, variant: str, features: Features, kernel: str) -> Iterator[Row]:
    clips = noise(setting.shape, 1).to(setting.device).expand(max(setting.batch_sizes), -1, -1, -1, -1).contiguous()
    for size in setting.batch_sizes:
        yield attempt(setting, f"{variant}, {kernel}, B={size}", _forward(setting, features, kernel, clips[:size]))


def _forward(setting: Setting, features: Features, kernel: str, batch: Tensor) -> Callable[[], Figures]:
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


def _best(rows: list[Row]) -> float:
    """The least time a clip takes; infinite when none was measured."""
    return min((float(row.figures.get("ms/clip", "inf")) for row in rows), default=float("inf"))
