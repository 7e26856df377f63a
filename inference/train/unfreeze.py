"""The last blocks of a backbone, trained together with a linear head on clips whose frames were decoded once.

The head that is written is then fitted on the tuned backbone's features, as any other is. It is calibrated and measured
on parts of the split that the blocks did not learn from.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from inference.errors import TrainingError
from inference.features.encoder import checkpoint_gradients
from inference.models.compilation import transformer_layers
from inference.models.networks.transforms import Normalise
from inference.train.data import Floats, LabelledClips, Rows
from inference.train.linear import LinearWeights, loss_weights
from inference.train.split import Split

LARGEST_NORM = 1.0  # of a step's gradient


class ClipFrames(Protocol):
    """Frames by clip: an array, or one that is mapped from a file."""

    def __getitem__(self, rows: Rows, /) -> npt.NDArray[np.uint8]:
        """Return ``(rows, frames, height, width, 3)``."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class UnfreezeOptions:
    """Options of the training of blocks."""

    blocks: int  # the last ones
    learning_rate: float = 1e-5  # of the blocks
    head_learning_rate: float = 1e-4
    weight_decay: float = 0.01
    epochs: int = 10
    patience: int = 3  # epochs without a better loss after which the training stops
    batch_clips: int = 8
    device: str = "cpu"


@dataclass(frozen=True, kw_only=True)
class Tuned:
    """What the tuned backbone, which was changed in place, makes of the clips."""

    features: npt.NDArray[np.float32]  # (clips, width): the mean over all tokens
    curve: tuple[float, ...]  # loss on the part ``select`` before the training, and after each epoch


def unfreeze(
    backbone: nn.Module,
    normalise: Normalise,
    frames: ClipFrames,
    clips: LabelledClips,
    split: Split,
    head: LinearWeights,
    options: UnfreezeOptions,
    *,
    seed: int,
    progress: Callable[[str, int, int], None],
) -> Tuned:
    """Train the last blocks on the part ``fit``, from ``head`` on; keep those of the lowest loss on ``select``.

    Raises:
        TrainingError: the backbone has fewer blocks, or the loss is not finite.
    """
    device = torch.device(options.device)
    layers = transformer_layers(backbone)
    if not 1 <= options.blocks <= len(layers):
        raise TrainingError(f"--unfreeze {options.blocks}: the backbone has {len(layers)} blocks")
    network = _Network(normalise, backbone.eval().requires_grad_(requires_grad=False), head).to(device)
    blocks = nn.ModuleList(layers[-options.blocks :]).requires_grad_(requires_grad=True)
    checkpoint_gradients(backbone)  # room for larger clips; gradients are the same
    training = _Training(network, blocks, frames, clips, options, device)
    optimizer = torch.optim.AdamW(
        [
            {"params": list(blocks.parameters()), "lr": options.learning_rate},
            {"params": list(network.linear.parameters()), "lr": options.head_learning_rate},
        ],
        weight_decay=options.weight_decay,
    )
    curve, random = [training.loss(split.select)], np.random.default_rng(seed)
    best = training.weights()
    for epoch in range(options.epochs):
        training.learn(random.permutation(split.fit), optimizer)
        curve.append(training.loss(split.select))
        if not np.isfinite(curve[-1]):
            raise TrainingError(f"the loss of epoch {epoch + 1} is not finite: --unfreeze fewer blocks")
        progress("epochs", epoch + 1, options.epochs)
        if curve[-1] <= min(curve):
            best = training.weights()
        elif len(curve) - 1 - int(np.argmin(curve)) >= options.patience:
            break
    blocks.load_state_dict(best)
    features = training.features(np.arange(len(clips)), lambda done: progress("features", done, len(clips)))
    backbone.requires_grad_(requires_grad=False).cpu()
    return Tuned(features=features, curve=tuple(curve))


class _Network(nn.Module):
    """uint8 clips -> the mean over all tokens; :attr:`linear` turns these into logits."""

    def __init__(self, normalise: Normalise, backbone: nn.Module, head: LinearWeights) -> None:
        super().__init__()
        self.normalise, self.backbone = normalise, backbone
        self.linear = nn.Linear(head.weight.shape[1], len(head.bias))
        self.linear.load_state_dict({name.removeprefix("linear."): one for name, one in head.tensors().items()})

    def forward(self, clips: Tensor) -> Tensor:
        tokens: Tensor = self.backbone(self.normalise(clips))
        return tokens.float().mean(dim=1)


class _Training:
    def __init__(
        self,
        network: _Network,
        blocks: nn.ModuleList,
        frames: ClipFrames,
        clips: LabelledClips,
        options: UnfreezeOptions,
        device: torch.device,
    ) -> None:
        self._network, self._blocks, self._frames, self._clips = network, blocks, frames, clips
        self._options, self._device = options, device

    def learn(self, rows: Rows, optimizer: torch.optim.Optimizer) -> None:
        """Run one epoch."""
        weights = loss_weights(self._clips, rows, is_balanced=True)
        for places in self._batches(np.arange(len(rows))):
            logits = self._network.linear(self._network(self._batch(rows[places])))
            loss = (self._losses(logits, rows[places]) * torch.tensor(weights[places], device=self._device)).mean()
            optimizer.zero_grad()
            torch.autograd.backward(loss)
            trained = [one for group in optimizer.param_groups for one in group["params"]]
            torch.nn.utils.clip_grad_norm_(trained, LARGEST_NORM)
            optimizer.step()

    def loss(self, rows: Rows) -> float:
        """Return the weighted loss on these clips."""
        weights = loss_weights(self._clips, rows, is_balanced=True)
        with torch.inference_mode():
            logits = self._network.linear(torch.from_numpy(self.features(rows)).to(self._device))
            losses = self._losses(logits, rows).double().cpu().numpy()
        return float(np.average(losses, weights=weights))

    def features(self, rows: Rows, progress: Callable[[int], None] = lambda _done: None) -> npt.NDArray[np.float32]:
        """Return ``(rows, width)``, one clip a pass, as a filter on a CPU computes them."""
        found: list[Floats] = []
        with torch.inference_mode():
            for row in rows:
                found.append(self._network(self._batch(np.array([row]))).cpu().numpy())
                progress(len(found))
        return np.concatenate(found).astype(np.float32)

    def weights(self) -> dict[str, Any]:
        """Return a copy of the blocks' weights."""
        return {name: one.detach().clone() for name, one in self._blocks.state_dict().items()}

    def _batch(self, rows: Rows) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(self._frames[rows])).to(self._device)

    def _batches(self, places: Rows) -> list[Rows]:
        return np.array_split(places, -(-len(places) // self._options.batch_clips))

    def _losses(self, logits: Tensor, rows: Rows) -> Tensor:
        return cross_entropy(logits, torch.from_numpy(self._clips.labels[rows]).to(self._device), reduction="none")
