"""Rotary position encoding of V-JEPA 2 from tables that all layers share.

Transformers rebuilds position ids, sines and cosines in each layer: 94 of a layer's 116 kernel launches. Here they are
built once per backbone, and a rotation takes three launches. The weights keep their names, so digests do not change.
"""

from __future__ import annotations

import inspect
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

logger = logging.getLogger(__name__)

THETA = 10000.0  # base of the rotation's frequencies
LINEAR = ("query", "key", "value", "proj")  # layers of the attention, kept under their names
GEOMETRY = ("num_attention_heads", "attention_head_size", "grid_size", "grid_depth", "d_dim", "h_dim", "w_dim")
KNOWN = (*LINEAR, *GEOMETRY, "scaling", "is_causal", "dropout_prob", "config")
ROTATION_TOLERANCE = 1e-5  # between rotated values within [-2, 2], in float32
ANSWER_TOLERANCE = 1e-3  # between attention outputs, as a share of the largest: large weights amplify rounding


@dataclass(frozen=True, slots=True)
class RotaryShape:
    """Layout of a head's features: ``axis_size`` rotate by time, as many by row and by column, the rest stay."""

    head_size: int
    axis_size: int
    grid_size: int  # tokens along each side of a frame

    def tables(self, count: int) -> tuple[Tensor, Tensor]:
        """Cosines and signed sines ``(count, head_size)`` of the first ``count`` tokens, float32 from float64.

        The angles of features 0, 1, 2, … follow frequencies 0, 1, …, 0, 1, …, although neighbouring features rotate
        as a pair: V-JEPA 2 was trained this way, and Transformers computes it this way.
        """
        ids = torch.arange(count)
        places = (ids // self.grid_size**2, ids // self.grid_size % self.grid_size, ids % self.grid_size)
        pairs = self.axis_size // 2
        frequencies = THETA ** -(torch.arange(pairs, dtype=torch.float64) / pairs)
        angles = torch.zeros(count, self.head_size, dtype=torch.float64)  # remaining features: no rotation
        for axis, place in enumerate(places):
            own = (place.unsqueeze(-1) * frequencies).repeat(1, 2)
            angles[:, axis * self.axis_size : (axis + 1) * self.axis_size] = own
        signs = torch.tensor([-1.0, 1.0], dtype=torch.float64).repeat(self.head_size // 2)
        return angles.cos().float(), (angles.sin() * signs).float()


class RotaryTables(nn.Module):
    """Tables of ``count`` tokens, as buffers, so that they move with the model to its device and dtype."""

    cosines: Tensor
    sines: Tensor

    def __init__(self, shape: RotaryShape, count: int) -> None:
        super().__init__()
        self.shape = shape
        cosines, sines = shape.tables(count)
        self.register_buffer("cosines", cosines, persistent=False)
        self.register_buffer("sines", sines, persistent=False)

    def forward(self, queries: Tensor, keys: Tensor) -> tuple[Tensor, Tensor]:
        """Rotate queries and keys, both ``(B, heads, tokens, head_size)``."""
        cosines, sines = self._first(queries.shape[-2])
        cosines, sines = cosines.to(queries.dtype), sines.to(queries.dtype)  # differs under autocast only
        return _rotate(queries, cosines, sines), _rotate(keys, cosines, sines)

    def _first(self, count: int) -> tuple[Tensor, Tensor]:
        if count <= len(self.cosines):
            return self.cosines[:count], self.sines[:count]
        cosines, sines = self.shape.tables(count)  # more frames than the model is configured for
        return cosines.to(self.cosines), sines.to(self.sines)


class CachedRopeAttention(nn.Module):
    """Self-attention of V-JEPA 2 with the weights of ``stock``: tokens ``(B, tokens, hidden_size)`` in and out."""

    def __init__(self, stock: Any, tables: RotaryTables) -> None:  # Transformers' attention ships no types
        super().__init__()
        self.query, self.key, self.value, self.proj = (getattr(stock, name) for name in LINEAR)
        self.tables = tables
        self.head_size = int(stock.attention_head_size)
        self.scaling = float(stock.scaling)
        self.dropout = float(stock.dropout_prob)

    def forward(self, hidden_states: Tensor, position_mask: Tensor | None = None) -> tuple[Tensor, None]:
        """Return the output tokens, and None in place of the attention weights that Transformers returns.

        Raises:
            ValueError: there is a mask, which only the training-time predictor uses.
        """
        if position_mask is not None:
            raise ValueError("cached position tables hold whole clips only; use the model of Transformers with masks")
        shape = (*hidden_states.shape[:-1], -1, self.head_size)
        queries, keys, values = (
            layer(hidden_states).view(shape).transpose(1, 2) for layer in (self.query, self.key, self.value)
        )
        queries, keys = self.tables(queries, keys)
        dropout = self.dropout if self.training else 0.0
        answer = functional.scaled_dot_product_attention(queries, keys, values, dropout_p=dropout, scale=self.scaling)
        return self.proj(answer.transpose(1, 2).flatten(2)), None


def cache_rope(model: nn.Module, source: str) -> bool:
    """Replace every layer's attention by the cached one if both give equal outputs; else log why not and return False.

    Call it with the weights set, in float32 on the CPU. ``source`` names the model in the log.
    """
    layers = list(getattr(getattr(model, "encoder", None), "layer", ()))
    found = [getattr(layer, "attention", None) for layer in layers]
    if (reason := _unknown(found)) is None:
        reason = _install(layers, found)
    if reason is not None:
        logger.warning("%s: the slower attention of Transformers is kept: %s", source, reason)
    return reason is None


def _install(layers: Sequence[Any], stock: Sequence[Any]) -> str | None:
    """Install the cached attention; return the reason if that is refused, None if done."""
    first = stock[0]
    shape = RotaryShape(first.attention_head_size, first.d_dim, first.grid_size)
    tables = RotaryTables(shape, first.grid_depth * first.grid_size**2)
    cached = [CachedRopeAttention(one, tables).train(one.training) for one in stock]
    try:
        is_equal = _rotates_equally(first, tables) and _outputs_equally(first, cached[0], shape)
    except (AttributeError, TypeError, ValueError, IndexError, RuntimeError) as error:
        return f"it cannot be compared ({error})"
    if not is_equal:
        return "its outputs differ from the cached attention's"
    for layer, one in zip(layers, cached, strict=True):
        layer.attention = one
    return None


def _unknown(found: Sequence[Any]) -> str | None:
    """Return the first difference from the attention that this module replaces; None without a difference."""
    if not found:
        return "the encoder has no layers where they are expected"
    if lacking := sorted({name for one in found for name in KNOWN if not hasattr(one, name)}):
        return f"it has no {', '.join(lacking)}"
    first = found[0]
    parameters = list(inspect.signature(first.forward).parameters)
    kind = getattr(first.config, "_attn_implementation", None)
    unlike = {
        "its layers differ from one another": any(_geometry(one) != _geometry(first) for one in found),
        f"it takes {', '.join(parameters)}": parameters != ["hidden_states", "position_mask"],
        "it rotates its axes by different shares": not first.d_dim == first.h_dim == first.w_dim,
        "it is causal": first.is_causal,
        f"it is configured for {kind}, not for sdpa": kind != "sdpa",
    }
    return next((reason for reason, is_so in unlike.items() if is_so), None)


def _geometry(attention: Any) -> list[object]:
    return [type(attention), *(getattr(attention, name) for name in GEOMETRY)]


@torch.no_grad()
def _rotates_equally(stock: Any, tables: RotaryTables) -> bool:
    """Compare the rotation of every token, on noise."""
    count = len(tables.cosines)
    noise = _noise(1, 1, count, tables.shape.head_size)
    wanted = stock.apply_rotary_embeddings(noise, stock.get_position_ids(torch.zeros(1, count, 1)))
    return bool((tables(noise, noise)[0] - wanted).abs().max() <= ROTATION_TOLERANCE)


@torch.no_grad()
def _outputs_equally(stock: Any, cached: CachedRopeAttention, shape: RotaryShape) -> bool:
    """Compare the whole attention, on noise of one frame and three tokens."""
    noise = _noise(1, shape.grid_size**2 + 3, stock.query.in_features)
    wanted = stock(noise)[0]
    return bool((cached(noise)[0] - wanted).abs().max() <= ANSWER_TOLERANCE * wanted.abs().max())


def _noise(*shape: int) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(0)) * 2 - 1


def _rotate(features: Tensor, cosines: Tensor, sines: Tensor) -> Tensor:
    even, odd = features.view(*features.shape[:-1], -1, 2).unbind(-1)
    return torch.addcmul(features * cosines, torch.stack((odd, even), dim=-1).flatten(-2), sines)
