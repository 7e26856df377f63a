"""Kinds of values in a manifest: names, keys, labels, references to weights, digests and numbers within limits."""

from __future__ import annotations

import re
from collections.abc import Hashable, Iterable
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from inference.manifest.weights import check_reference

SEED = re.compile(r"seed:(\d{1,18})")


class StrictModel(BaseModel):
    """A table of a manifest: frozen, without conversions, and unknown keys are refused."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, allow_inf_nan=False)


def parse_seed(weights: str) -> int | None:
    """The seed of ``"seed:<int>"`` weights; None when ``weights`` is a path."""
    match = SEED.fullmatch(weights)
    return int(match[1]) if match else None


def _check_weights(weights: str) -> str:
    if weights.startswith("seed:") and parse_seed(weights) is None:
        raise ValueError('write "seed:<whole number>", or the path of a checkpoint')
    return check_reference(weights)


def check_distinct(labels: tuple[str, ...]) -> tuple[str, ...]:
    """Return the labels; raise ``ValueError`` if one occurs more than once."""
    if twice := duplicates(labels):
        raise ValueError(f"{', '.join(twice)} stands twice; give every class its own label")
    return labels


def duplicates(names: Iterable[Hashable]) -> list[str]:
    """The names that occur more than once, each once, as text."""
    seen: set[Hashable] = set()
    twice: dict[Hashable, None] = {}
    for name in names:
        if name in seen:
            twice[name] = None
        seen.add(name)
    return [str(name) for name in twice]


Name = Annotated[str, Field(pattern=r"^[a-z0-9]+([_.-][a-z0-9]+)*$", max_length=64)]
Key = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$", max_length=64)]
Label = Annotated[str, Field(min_length=1, max_length=64)]
HelpText = Annotated[str, Field(max_length=300)]
Weights = Annotated[str, Field(min_length=1, max_length=1024), AfterValidator(_check_weights)]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
FileName = Annotated[str, Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]*$", max_length=128)]
Sha256Pins = Sha256 | Annotated[dict[FileName, Sha256], Field(min_length=1, max_length=64)]  # or of each file by name
DtypeName = Literal["auto", "float32", "tf32", "float16", "bfloat16"]  # tf32: float32 with inexact products on a GPU
Channels = tuple[float, float, float]
Divisors = tuple[Annotated[float, Field(gt=0)], Annotated[float, Field(gt=0)], Annotated[float, Field(gt=0)]]
Share = Annotated[float, Field(ge=0, le=1)]
PictureSide = Annotated[int, Field(ge=16, le=4096)]
FrameCount = Annotated[int, Field(ge=1, le=1024)]
