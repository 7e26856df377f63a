"""Train a new head on a frozen backbone, for what a step of it costs and for a loss that can fall."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from inference.errors import ProfilingError
from inference.profiling.frames.sources import SourceFrame
from inference.profiling.options import ProfileOptions
from inference.profiling.steps.execution import Execute, Executed, precision
from inference.profiling.steps.models import ProfiledModel

HEADS = ("fc", "heads", "head", "classifier", "_classifier")
COLOURS = ("red", "green", "blue")
LEARNING_RATE = 1e-2

LabelOf = Callable[[SourceFrame], int]


def labelling(classes: Sequence[str]) -> tuple[LabelOf, int]:
    """A frame's class and how many there are: its folder, or where files lie in no folders its strongest colour."""
    names = sorted(classes)
    if len(names) > 1:
        return (lambda frame: names.index(frame.label)), len(names)
    return (lambda frame: int(frame.pixels.mean(axis=(0, 1)).argmax())), len(COLOURS)


def replace_head(model: ProfiledModel, classes: int) -> nn.Module:
    """Freeze the model, put a new last layer for ``classes`` in place of its own, and return that layer.

    Raises:
        ProfilingError: the model has no head of a known name.
    """
    model.module.requires_grad_(False)
    layers = [
        (name, layer)
        for name, layer in model.module.named_modules()
        if name.split(".")[0] in HEADS and isinstance(layer, nn.Linear | nn.Conv2d)
    ]
    if not layers or not model.is_classifier:
        raise ProfilingError(
            f"{model.name} has no head to replace ({', '.join(HEADS)}): --mode retrain takes classifiers"
        )
    path, old = layers[-1]
    new = _like(old, classes)
    model.module.set_submodule(path, new)
    return new


def _like(old: nn.Linear | nn.Conv2d, classes: int) -> nn.Module:
    if isinstance(old, nn.Linear):
        return nn.Linear(old.in_features, classes)
    return nn.Conv2d(old.in_channels, classes, 1)


def make_retraining(model: ProfiledModel, options: ProfileOptions, label_of: LabelOf, classes: int) -> Execute:
    """Return a training step: forward, cross entropy, backward, Adam on the head alone."""
    head = replace_head(model, classes)
    module = model.module.to(options.device)
    forward = torch.compile(module) if options.enable_compile else module
    optimizer = torch.optim.Adam(head.parameters(), lr=LEARNING_RATE)
    scaler = torch.amp.GradScaler(options.device.type, enabled=options.use_amp and options.device.type == "cuda")

    def scores(frames: Tensor) -> Tensor:
        output = forward(*model.arrange(frames))
        return model.logits(output)

    def execute(frames: Tensor, sources: Sequence[SourceFrame]) -> Executed:
        labels = torch.tensor([label_of(one) for one in sources[:: model.frames_per_sample]], device=options.device)
        with precision(options):
            is_kept = not options.checkpoint_gradients
            found = scores(frames) if is_kept else checkpoint(scores, frames, use_reentrant=False)
            loss = nn.functional.cross_entropy(found.float(), labels)
        optimizer.zero_grad()
        scaled: Tensor = scaler.scale(loss)
        scaled.backward()  # type: ignore[no-untyped-call]  # torch has no types for it
        scaler.step(optimizer)
        scaler.update()
        return Executed(loss.detach())

    return execute
