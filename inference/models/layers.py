"""torch.compile, a layer at a time: the layers are alike, so that one compilation serves all of them."""

from __future__ import annotations

import torch
from torch import nn


def transformer_layers(model: nn.Module) -> list[nn.Module]:
    """The longest list of modules in ``model``: its repeated blocks; empty when it has no list."""
    lists = [list(module) for module in model.modules() if isinstance(module, nn.ModuleList)]
    return max(lists, key=len, default=[])


def compile_layers(model: nn.Module, batch_sizes: int) -> int:
    """Have every layer compiled when it first runs, once per batch size; returns how many layers there are.

    ``batch_sizes`` is how many sizes will be run: each has a compilation of its own, as code for any size is slower.
    """
    layers = transformer_layers(model)
    for layer in layers:
        layer.compile(dynamic=False)
    _allow(batch_sizes)
    return len(layers)


def _allow(compilations: int) -> None:
    """Past its limit torch.compile gives up without an error; every backbone of the process counts towards it."""
    config = torch._dynamo.config  # noqa: SLF001  the documented place of this limit
    config.recompile_limit = config.recompile_limit + compilations
