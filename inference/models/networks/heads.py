"""Classifiers on a backbone's tokens: ``(B, tokens, hidden_size)`` -> logits ``(B, labels)``.

Each is a reduction of the tokens to vectors, which can be remembered, and a classifier of those.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from inference.errors import ManifestError
from inference.models.networks.frame_encoder import VIEWS

if TYPE_CHECKING:  # this module runs without pydantic
    from inference.manifest.schema import HeadSpec


class LinearHead(nn.Module):
    """The mean over the tokens, then one linear layer."""

    def __init__(self, hidden_size: int, num_labels: int) -> None:
        super().__init__()
        self.linear = nn.Linear(hidden_size, num_labels)

    def reduce(self, tokens: Tensor) -> Tensor:
        """Vectors ``(B, hidden_size)``."""
        return tokens.mean(dim=1)

    def classify(self, vectors: Tensor) -> Tensor:
        """Logits."""
        logits: Tensor = self.linear(vectors)
        return logits

    def forward(self, tokens: Tensor) -> Tensor:
        """Logits."""
        return self.classify(self.reduce(tokens))


class AttentiveHead(nn.Module):
    """V-JEPA's attentive probe: ``depth - 1`` self-attention blocks, a learned query's cross-attention, a linear layer.

    Assran et al., "V-JEPA 2" (arXiv:2506.09985): their probes have a depth of 4.
    """

    def __init__(self, hidden_size: int, num_labels: int, *, depth: int, num_attention_heads: int) -> None:
        from transformers import VJEPA2Config
        from transformers.models.vjepa2.modeling_vjepa2 import VJEPA2AttentivePooler

        super().__init__()
        config = VJEPA2Config(
            hidden_size=hidden_size,
            num_attention_heads=num_attention_heads,
            num_pooler_layers=depth - 1,
            attn_implementation="sdpa",
        )
        self.pooler = VJEPA2AttentivePooler(config)
        self.linear = nn.Linear(hidden_size, num_labels)

    def reduce(self, tokens: Tensor) -> Tensor:
        """Vectors ``(B, hidden_size)``, which depend on the blocks' weights."""
        vectors: Tensor = self.pooler(tokens)
        return vectors

    def classify(self, vectors: Tensor) -> Tensor:
        """Logits."""
        logits: Tensor = self.linear(vectors)
        return logits

    def forward(self, tokens: Tensor) -> Tensor:
        """Logits."""
        return self.classify(self.reduce(tokens))


class UprightHead(nn.Module):
    """Logits of (turned, upright) by the question "is this view upright?" to each of four turned views.

    The answers are compared: a softmax over the views, each the mean over its frames, gives the probability that the
    first view, the picture as it is, is the upright one. ``prior`` shifts the views' logits.
    """

    def __init__(self, hidden_size: int) -> None:
        super().__init__()
        self.linear = nn.Linear(hidden_size, 1, bias=False)
        self.prior = nn.Parameter(torch.zeros(VIEWS))

    def reduce(self, tokens: Tensor) -> Tensor:
        """Return the tokens as they are: one for each view of each frame."""
        return tokens

    def classify(self, vectors: Tensor) -> Tensor:
        """Logits ``(B, 2)`` of tokens ``(B, 4 * T, hidden_size)``, view by view."""
        by_view = self.linear(vectors).reshape(len(vectors), VIEWS, -1).mean(dim=-1) + self.prior
        turned = by_view.float().log_softmax(dim=-1)
        return torch.stack([turned[:, 1:].logsumexp(dim=-1), turned[:, 0]], dim=-1)

    def forward(self, tokens: Tensor) -> Tensor:
        """Logits."""
        return self.classify(self.reduce(tokens))


Head = LinearHead | AttentiveHead | UprightHead


def build_head(name: str, spec: HeadSpec, hidden_size: int) -> Head:
    """Build the architecture of ``spec`` in evaluation mode; its weights are not set.

    Raises:
        ManifestError: the attention heads do not divide the backbone's hidden size.
    """
    if spec.kind == "linear":
        return LinearHead(hidden_size, len(spec.labels)).eval()
    if spec.kind == "upright":
        return UprightHead(hidden_size).eval()
    if hidden_size % spec.num_attention_heads:
        raise ManifestError(
            f"heads.{name}.num_attention_heads = {spec.num_attention_heads} does not divide "
            f"hidden_size = {hidden_size}; choose a divisor"
        )
    return AttentiveHead(
        hidden_size, len(spec.labels), depth=spec.depth, num_attention_heads=spec.num_attention_heads
    ).eval()
