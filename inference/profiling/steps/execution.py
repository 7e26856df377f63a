"""One batch through a model: plain inference, on one device or split over two."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from inference.errors import ProfilingError
from inference.profiling.frames.sources import SourceFrame
from inference.profiling.options import ProfileOptions
from inference.profiling.steps.models import ProfiledModel

Synchronize = Callable[[], None]


@dataclass(frozen=True, slots=True)
class Executed:
    """The result of one batch, as far as a profile is concerned."""

    loss: Tensor | None = None  # a scalar on the device; None in inference
    first_part_seconds: float = 0.0  # with a split point: on the CPU
    transfer_seconds: float = 0.0  # with a split point: between the two parts


Execute = Callable[[Tensor, Sequence[SourceFrame]], Executed]
"""Runs prepared frames ``(samples x frames of a sample, 3, H, W)`` on the model's device."""


def synchronizer(device: torch.device) -> Synchronize:
    """Return a function that waits until ``device`` has done what it was given; a CPU already has."""
    return (lambda: torch.cuda.synchronize(device)) if device.type == "cuda" else _no_wait


def _no_wait() -> None:
    """A CPU's calls return when they are done."""


def precision(options: ProfileOptions) -> AbstractContextManager[object]:
    """The context of mixed precision: float16 on a GPU, bfloat16 on a CPU, float32 without ``use_amp``."""
    if not options.use_amp:
        return nullcontext()
    is_gpu = options.device.type == "cuda"
    return torch.autocast(options.device.type, dtype=torch.float16 if is_gpu else torch.bfloat16)


def make_inference(model: ProfiledModel, options: ProfileOptions) -> Execute:
    """Return plain inference: on the options' device, compiled if they say so."""
    module = model.module.to(options.device).requires_grad_(False)
    forward = torch.compile(module) if options.enable_compile else module

    def execute(frames: Tensor, _sources: Sequence[SourceFrame]) -> Executed:
        with torch.inference_mode(), precision(options):
            forward(*model.arrange(frames))
        return Executed()

    return execute


# ── a model split over two devices ───────────────────────────────────────────────────────────────────────────────────


class SplitModel:
    """A model of which ``path`` and every module first called after it lie on ``second``, the others on the CPU.

    Raises:
        ProfilingError: there is no such module, it is never called, or a tensor goes past the split (a shortcut).
    """

    def __init__(self, model: ProfiledModel, path: str, second: torch.device, synchronize: Synchronize) -> None:
        self._model = model
        self._second = second
        self._synchronize = synchronize
        self._begun = self._first_part_seconds = self._transfer_seconds = 0.0
        sample = torch.zeros(2 * model.frames_per_sample, 3, model.size, model.size)
        target = self._find(path)
        for module in self._called_from(target, sample):
            module.to(second)
        self._hooks: list[RemovableHandle] = [target.register_forward_pre_hook(self._move, with_kwargs=True)]
        try:
            self(sample, ())
        except RuntimeError as error:
            raise ProfilingError(
                f"{model.name} cannot be split at {path}, for a tensor goes past it ({str(error).splitlines()[0]}): "
                "split before a whole block, such as layer3"
            ) from error

    def __call__(self, frames: Tensor, _sources: Sequence[SourceFrame]) -> Executed:
        """Run both parts; frames lie on the CPU."""
        self._begun = time.perf_counter()
        with torch.inference_mode():
            self._model.module(*self._model.arrange(frames))
        return Executed(None, self._first_part_seconds, self._transfer_seconds)

    def _find(self, path: str) -> nn.Module:
        modules: dict[str, nn.Module] = dict(self._model.module.named_modules())
        if not path or path not in modules:
            known = ", ".join(name for name, _ in self._model.module.named_children())
            raise ProfilingError(f"{self._model.name} has no module {path!r}; its first level: {known}")
        return modules[path]

    def _called_from(self, target: nn.Module, sample: Tensor) -> list[nn.Module]:
        """Modules whose first call is the target's or comes after it, in that order."""
        order: list[nn.Module] = []
        hooks = [
            module.register_forward_pre_hook(lambda called, _inputs: order.append(called))
            for module in self._model.module.modules()
        ]
        with torch.inference_mode():
            self._model.module(*self._model.arrange(sample))
        for hook in hooks:
            hook.remove()
        order = list(dict.fromkeys(order))
        if target not in order:
            raise ProfilingError(f"{self._model.name} never calls the module of the split point: choose another")
        return order[order.index(target) :]

    def _move(
        self, _module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Move a call's tensors to the second device; the time before it is the first part's."""
        started = time.perf_counter()
        self._first_part_seconds = started - self._begun
        moved = tuple(self._to_second(one) for one in args), {k: self._to_second(one) for k, one in kwargs.items()}
        self._synchronize()
        self._transfer_seconds = time.perf_counter() - started
        return moved

    def _to_second(self, value: object) -> object:
        return value.to(self._second) if isinstance(value, Tensor) else value
