"""torch.compile, a layer at a time: the layers are alike, so that one compilation serves all of them."""

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
    """Have the layers compiled when they first run, once per batch size; returns how many.

    Not the first one: its input lies otherwise in memory, so that it would need compilations of its own.

    ``batch_sizes`` is how many sizes will be run: each has a compilation of its own, as code for any size is slower.
    """
    layers = transformer_layers(model)[1:]
    for layer in layers:
        layer.compile(dynamic=False, backend=backend)
    _allow(batch_sizes)
    return len(layers)


def _allow(compilations: int) -> None:
    """Past its limit torch.compile gives up without an error; every backbone of the process counts towards it."""
    config = torch._dynamo.config  # noqa: SLF001  the documented place of this limit
    config.recompile_limit = config.recompile_limit + compilations
