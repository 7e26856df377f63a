"""Fewer kernel launches: torch.compile layer by layer, and CUDA graphs recorded once per batch size.

A ViT-B launches hundreds of kernels; at small batches a GPU waits for the host to launch them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from inference.models.networks.video_model import Features

Replay = Callable[[], Tensor]
Capture = Callable[[Features, Tensor], Replay]
"""Records features of one batch; the replay reads that batch's memory, and its tokens last until the next replay."""

EAGER_RUNS = 3  # before recording: libraries choose algorithms and allocate their workspaces in the first runs


@dataclass(frozen=True, slots=True)
class _Recorded:
    batch: Tensor
    replay: Replay


class GraphedFeatures:
    """Records ``features`` at the first call with each batch size: warm up with every size before the first video.

    Not thread-safe. The tokens are valid until the next call.
    """

    def __init__(self, features: Features, capture: Capture) -> None:
        self._features = features
        self._capture = capture
        self._recorded: dict[tuple[int, ...], _Recorded] = {}

    def __call__(self, batch: Tensor) -> Tensor:
        """Tokens of a batch on the device."""
        recorded = self._recorded.get(tuple(batch.shape))
        if recorded is None:
            recorded = _Recorded(batch, self._capture(self._features, batch))
            self._recorded[tuple(batch.shape)] = recorded
        elif recorded.batch.data_ptr() != batch.data_ptr():
            recorded.batch.copy_(batch)
        return recorded.replay()


class CudaCapture:
    """Records on a CUDA device. The recordings share memory: only one's tokens are valid at a time."""

    def __init__(self) -> None:
        self._pool = torch.cuda.graph_pool_handle()

    def __call__(self, features: Features, batch: Tensor) -> Replay:
        """Run ``features`` a few times, then record it."""
        with torch.cuda.device(batch.device):  # the recorder's own stream is the current device's
            current, side = torch.cuda.current_stream(), _side_stream(batch.device)
            side.wait_stream(current)
            with torch.cuda.stream(side):
                for _ in range(EAGER_RUNS):
                    features(batch)
            current.wait_stream(side)
            graph = torch.cuda.CUDAGraph()
            # thread_local: other threads may pin memory and run their own models at the same time
            with torch.cuda.graph(graph, pool=self._pool, capture_error_mode="thread_local"):
                tokens = features(batch)

        def replay() -> Tensor:
            graph.replay()
            return tokens

        return replay


def _side_stream(device: torch.device) -> torch.cuda.Stream:
    return torch.cuda.Stream(device)  # type: ignore[no-untyped-call]  # torch leaves its signature untyped


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
