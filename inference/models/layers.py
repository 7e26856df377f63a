"""torch.compile layer by layer: the layers are equal, so one compilation serves all of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn


def transformer_layers(model: nn.Module) -> list[nn.Module]:
    """The longest list of modules in ``model``: its repeated blocks; empty when it has no list."""
    lists = [list(module) for module in model.modules() if isinstance(module, nn.ModuleList)]
    return max(lists, key=len, default=[])


def compile_layers(model: nn.Module, batch_sizes: int, backend: str | Callable[..., Any] = "inductor") -> int:
    """Mark the layers for compilation at their first run with each batch size; return their number.

    The first layer is left out: the memory layout of its input differs, so it would need its own compilations.

    ``batch_sizes`` is the number of batch sizes: each gets its own compilation, because code for any size is slower.
    """
    layers = transformer_layers(model)[1:]
    for layer in layers:
        layer.compile(dynamic=False, backend=backend)
    _allow(batch_sizes)
    return len(layers)


def _allow(compilations: int) -> None:
    """Raise the limit, past which torch.compile silently stops compiling; all backbones of the process share it."""
    config = torch._dynamo.config  # noqa: SLF001  the documented place of this limit
    config.recompile_limit = config.recompile_limit + compilations
