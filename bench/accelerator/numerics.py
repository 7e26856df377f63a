"""G5: effect of number formats, cached tables, compiling and graphs on the tokens."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity

from bench.accelerator.encoder import build_model, noise
from bench.accelerator.setting import BenchSetting, FigureRow, Figures, attempt
from inference.models.compilation import CudaCapture, GraphedFeatures, compile_layers
from inference.models.networks.video_model import Features
from inference.models.torch_settings import float32_precision


def numerics(setting: BenchSetting) -> Iterator[FigureRow]:
    """Compare tokens of a clip with those of float32 and the stock attention on this device."""
    clip = noise(setting.shape, 1).to(setting.device)
    with float32_precision(is_tf32=False):
        exact = _tokens(build_model(setting.shape, setting.device, torch.float32, is_cached=False).features, clip)
    ways: dict[str, Callable[[], Features]] = {
        "float32, cached tables": lambda: _model(setting, torch.float32),
        "float16, stock": lambda: _model(setting, torch.float16, is_cached=False),
        "float16, cached tables": lambda: _model(setting, torch.float16),
        "bfloat16, cached tables": lambda: _model(setting, torch.bfloat16),
    }
    if setting.has_gpu:
        ways["tf32, cached tables"] = lambda: _model(setting, torch.float32)
        ways["float16, graph"] = lambda: GraphedFeatures(_model(setting, torch.float16), CudaCapture())
        ways["float16, compiled layers"] = lambda: _compiled(setting)
    for name, build in ways.items():
        yield attempt(setting, name, _compared(build, clip, exact, is_tf32=name.startswith("tf32")))


def _compared(build: Callable[[], Features], clip: Tensor, exact: Tensor, *, is_tf32: bool) -> Callable[[], Figures]:
    def run() -> Figures:
        with float32_precision(is_tf32=is_tf32):
            found = _tokens(build(), clip)
        difference = (found - exact).abs()
        return {
            "least cosine": float(cosine_similarity(found, exact, dim=-1).min()),
            "max |difference|": float(difference.max()),
            "mean |difference|": float(difference.mean()),
        }

    return run


@torch.inference_mode()
def _tokens(features: Features, clip: Tensor) -> Tensor:
    return features(clip).float().clone()


def _model(setting: BenchSetting, dtype: torch.dtype, *, is_cached: bool = True) -> Features:
    return build_model(setting.shape, setting.device, dtype, is_cached=is_cached).features


def _compiled(setting: BenchSetting) -> Features:
    model = build_model(setting.shape, setting.device, torch.float16)
    compile_layers(model.backbone, 1)
    return model.features
