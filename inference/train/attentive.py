"""The attentive head: a grid of V-JEPA's probes on frozen tokens, all trained on one pass over the features an epoch.

Each head keeps the weights of its best epoch on clips apart, and stops when these no longer get better.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import product

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from inference.errors import TrainingError
from inference.models.checkpoint import fill_from_seed
from inference.models.networks.heads import AttentiveHead
from inference.train.data import FeatureRows, Floats, LabelledClips, Rows
from inference.train.linear import GridPoint, loss_weights

BATCH_CLIPS = 32
HEAD_CHANNELS = 64  # of the width for each attention head, as in the encoders
LARGEST_NORM = 1.0  # of a step's gradient
LINEAR = "linear."  # the last layer's part of the weights


@dataclass(frozen=True, slots=True, kw_only=True)
class AttentiveOptions:
    """Options of the attentive heads."""

    depth: int = 1  # depth - 1 self-attention blocks, then a learned query's cross-attention
    learning_rates: tuple[float, ...] = (1e-3, 3e-4, 1e-4)
    weight_decays: tuple[float, ...] = (0.01, 0.1)
    epochs: int = 40
    patience: int = 6  # epochs without a better loss after which a head stops
    device: str = "cpu"


@dataclass(frozen=True, kw_only=True)
class AttentiveWeights:
    """An attentive pooler and its linear layer."""

    weight: Floats  # (classes, width)
    bias: Floats  # (classes,)
    pooler: Mapping[str, Tensor]
    depth: int
    num_attention_heads: int

    def tensors(self) -> dict[str, Tensor]:
        """Return the weights by their names in the head's module, float32."""
        last = {"weight": self.weight, "bias": self.bias}
        return {
            **self.pooler,
            **{LINEAR + name: torch.tensor(values, dtype=torch.float32) for name, values in last.items()},
        }

    def fields(self) -> dict[str, str | int]:
        """Return the fields of a manifest's head."""
        return {"kind": "attentive", "depth": self.depth, "num_attention_heads": self.num_attention_heads}

    def logits(self, features: FeatureRows, rows: Rows) -> Floats:
        """Return ``(rows, classes)`` of features ``(clips, tokens, width)``."""
        head = AttentiveHead(
            self.weight.shape[1], len(self.bias), depth=self.depth, num_attention_heads=self.num_attention_heads
        ).eval()
        head.load_state_dict(self.tensors())
        return _logits(head, features, rows, torch.device("cpu"))


@dataclass(frozen=True, kw_only=True)
class AttentiveFit:
    """The head with the lowest loss of a grid."""

    weights: AttentiveWeights
    chosen: GridPoint
    grid: tuple[GridPoint, ...]


@dataclass(kw_only=True)
class _Candidate:
    """A head in training."""

    head: AttentiveHead
    optimizer: torch.optim.Optimizer
    learning_rate: float
    weight_decay: float
    curve: list[float] = field(default_factory=list)  # loss on the clips apart
    fit_losses: list[float] = field(default_factory=list)
    best: dict[str, Tensor] = field(default_factory=dict)

    @property
    def stale_epochs(self) -> int:
        """Epochs since the best one."""
        return len(self.curve) - 1 - int(np.argmin(self.curve)) if self.curve else 0

    def point(self) -> GridPoint:
        """Return its losses at its best epoch."""
        place = int(np.argmin(self.curve))
        return GridPoint(
            weight_decay=self.weight_decay,
            learning_rate=self.learning_rate,
            fit_loss=self.fit_losses[place],
            select_loss=self.curve[place],
            curve=tuple(self.curve),
        )


def fit_attentive(
    clips: LabelledClips,
    fit: Rows,
    select: Rows,
    options: AttentiveOptions,
    *,
    seed: int,
    is_balanced: bool = True,
    progress: Callable[[int, int], None] | None = None,
) -> AttentiveFit:
    """Train a head for each learning rate and weight decay on ``fit``; choose head and epoch by the loss on ``select``.

    ``progress`` is told the number of epochs that are done, and the most that there are.

    Raises:
        TrainingError: the features have no tokens, or no head's loss is finite.
    """
    if len(clips.features.shape) != 3:
        raise TrainingError("an attentive head needs every token: extract again with --pool tokens")
    device, random = torch.device(options.device), np.random.default_rng(seed)
    candidates = _candidates(clips, options, seed, device)
    fit_weights, select_weights = (loss_weights(clips, rows, is_balanced=is_balanced) for rows in (fit, select))
    for epoch in range(options.epochs):
        active = [one for one in candidates if one.stale_epochs < options.patience]
        if not active:
            break
        order = random.permutation(len(fit))
        batches = np.array_split(order, -(-len(order) // BATCH_CLIPS))
        losses = [_step(active, clips, fit[batch], fit_weights[batch], device) for batch in batches]
        for place, one in enumerate(active):
            one.fit_losses.append(float(np.mean([step[place] for step in losses])))
        _assess_epoch(active, clips, select, select_weights, device)
        if progress is not None:
            progress(epoch + 1, options.epochs)
    best = min(candidates, key=lambda one: min(one.curve))
    if not best.best:
        raise TrainingError("no head's loss is finite: features hold NaN or Inf; extract them again")
    return AttentiveFit(
        weights=_weights(best, options.depth), chosen=best.point(), grid=tuple(one.point() for one in candidates)
    )


def attention_heads(width: int) -> int:
    """Return the number of attention heads for a width: one for each 64 channels, where these divide it.

    >>> [attention_heads(width) for width in (768, 1024, 48, 100)]
    [12, 16, 1, 1]
    """
    return max(1, width // HEAD_CHANNELS) if width % HEAD_CHANNELS == 0 else 1


def _candidates(clips: LabelledClips, options: AttentiveOptions, seed: int, device: torch.device) -> list[_Candidate]:
    width, found = clips.features.shape[2], []
    for learning_rate, weight_decay in product(options.learning_rates, options.weight_decays):
        head = AttentiveHead(width, len(clips.classes), depth=options.depth, num_attention_heads=attention_heads(width))
        fill_from_seed(head, seed)  # equal beginnings: heads differ by their options alone
        head = head.to(device).train()
        optimizer = torch.optim.AdamW(head.parameters(), lr=learning_rate, weight_decay=weight_decay)
        found.append(_Candidate(head=head, optimizer=optimizer, learning_rate=learning_rate, weight_decay=weight_decay))
    return found


def _step(
    active: list[_Candidate], clips: LabelledClips, rows: Rows, weights: Floats, device: torch.device
) -> list[float]:
    """Let every head learn from one batch, which is read once; return their losses."""
    tokens, labels = _batch(clips.features, rows, device), torch.from_numpy(clips.labels[rows]).to(device)
    scale, losses = torch.tensor(weights, dtype=torch.float32, device=device), []
    for one in active:
        loss = (cross_entropy(one.head(tokens), labels, reduction="none") * scale).mean()
        one.optimizer.zero_grad()
        torch.autograd.backward(loss)
        torch.nn.utils.clip_grad_norm_(one.head.parameters(), LARGEST_NORM)
        one.optimizer.step()
        losses.append(float(loss.detach()))
    return losses


def _assess_epoch(
    active: list[_Candidate], clips: LabelledClips, rows: Rows, weights: Floats, device: torch.device
) -> None:
    labels, scale = torch.from_numpy(clips.labels[rows]), torch.tensor(weights)
    for one in active:
        logits = torch.from_numpy(_logits(one.head.eval(), clips.features, rows, device))
        loss = float((cross_entropy(logits, labels, reduction="none") * scale).sum() / scale.sum())
        one.head.train()
        if np.isfinite(loss) and loss < min(one.curve, default=np.inf):
            one.best = {name: tensor.detach().cpu().clone() for name, tensor in one.head.state_dict().items()}
        one.curve.append(loss if np.isfinite(loss) else np.inf)


def _logits(head: AttentiveHead, features: FeatureRows, rows: Rows, device: torch.device) -> Floats:
    parts = np.array_split(rows, max(1, -(-len(rows) // BATCH_CLIPS)))
    with torch.inference_mode():
        found: Floats = np.concatenate([head(_batch(features, part, device)).cpu().double().numpy() for part in parts])
    return found


def _batch(features: FeatureRows, rows: Rows, device: torch.device) -> Tensor:
    return torch.from_numpy(np.asarray(features[rows], np.float32)).to(device)


def _weights(found: _Candidate, depth: int) -> AttentiveWeights:
    last = {name: found.best[LINEAR + name].double().numpy() for name in ("weight", "bias")}
    return AttentiveWeights(
        weight=last["weight"],
        bias=last["bias"],
        pooler={name: tensor for name, tensor in found.best.items() if not name.startswith(LINEAR)},
        depth=depth,
        num_attention_heads=attention_heads(last["weight"].shape[1]),
    )
