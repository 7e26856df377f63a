"""Effect of the engine's changes to an encoder's forward: cached tables, batches, no predictor. CPU, one thread."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from bench.accelerator.encoder import MEAN, STD, Shape, build_encoder, noise
from bench.comparison import Case, Comparison, Variant, Work
from inference.models.networks.transforms import Normalise

SMALL = Shape("64 tokens", 192, 6, 3, 8, 64)
LONG = Shape("512 tokens", 192, 6, 3, 16, 128)
CLIPS, SHORT_CLIPS = 32, 8
SHOWN = 8  # numbers of each clip in an answer
Forward = Callable[[nn.Module, Tensor], Tensor]


def skipping(model: nn.Module, clips: Tensor) -> Tensor:
    """Call the model as the engine does."""
    tokens: Tensor = model(pixel_values_videos=clips, skip_predictor=True).last_hidden_state
    return tokens


def by_default(model: nn.Module, clips: Tensor) -> Tensor:
    """Call the model with the defaults of Transformers, which also run the training-time predictor."""
    tokens: Tensor = model(pixel_values_videos=clips).last_hidden_state
    return tokens


@contextmanager
def _variant(
    shape: Shape, batch: int, is_cached: bool, forward: Forward, has_predictor: bool, is_short: bool
) -> Iterator[Work]:
    torch.set_num_threads(1)
    model = build_encoder(shape, is_cached=is_cached, has_predictor=has_predictor)
    clips = Normalise(MEAN, STD)(noise(shape, int(_count(is_short))))
    with torch.inference_mode():
        forward(model, clips[:batch])  # warm

        def work() -> Callable[[], Any]:
            return partial(_answer, [forward(model, part) for part in clips.split(batch)])

        yield work


def _answer(tokens: Sequence[Tensor]) -> Any:
    return [clip.mean(0)[:SHOWN].tolist() for batch in tokens for clip in batch]


def _count(is_short: bool) -> float:
    return float(SHORT_CLIPS if is_short else CLIPS)


def _comparison(name: str, variants: Mapping[str, Variant]) -> Comparison:
    return Comparison(name=name, unit="clips", count=_count, variants=variants, tolerance=1e-4)


def _tables(shape: Shape) -> Comparison:
    ways = {"transformers": False, "cached_tables": True}
    variants = {name: partial(_variant, shape, 4, is_cached, skipping, False) for name, is_cached in ways.items()}
    return _comparison(f"position tables, {shape.name}", variants)


def _batches(shape: Shape) -> Comparison:
    variants = {f"batches_of_{size}": partial(_variant, shape, size, True, skipping, False) for size in (1, 4, 8)}
    return _comparison(f"batch sizes, {shape.name}", variants)


def _predictor(shape: Shape) -> Comparison:
    ways = {"default_call": by_default, "skip_predictor": skipping}
    variants = {name: partial(_variant, shape, 4, False, forward, True) for name, forward in ways.items()}
    return _comparison(f"predictor, {shape.name}", variants)


CASE = Case(
    "engine",
    (_tables(SMALL), _tables(LONG), _batches(SMALL), _batches(LONG), _predictor(LONG)),
    short=(_tables(SMALL), _predictor(SMALL)),
)
