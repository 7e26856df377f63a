"""A backbone's input format, from its manifest entry and its checkpoint's ``config.json``.

A wrong size, crop or mean makes scores wrong without any error. So a value that neither source states, or that the
sources state differently, is refused.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from inference.errors import ManifestError
from inference.manifest.fields import Channels, Divisors
from inference.manifest.schema import BackboneSpec
from inference.manifest.weights import Pins, check_content, pin_of
from inference.types import Fit, PictureSpec

CONFIG_NAME = "config.json"
TRAINED_ON = "trained_on"  # its section in a head's checkpoint: the backbone and the input of the training
RECORDED = (
    "num_frames",
    "size",
    "mean",
    "std",
)  # by a checkpoint; the fit stands in the manifest alone


@dataclass(frozen=True, slots=True)
class Preprocessing:
    """A backbone's input: ``num_frames`` pictures, scaled to [0, 1], then ``(x - mean) / std`` per RGB channel."""

    num_frames: int
    picture: PictureSpec
    mean: tuple[float, float, float]
    std: tuple[float, float, float]


class _Preprocessor(BaseModel):
    """The ``preprocessor`` section of a checkpoint in the video_transformers format."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    num_timesteps: int = Field(ge=1)
    input_size: int = Field(ge=16)
    means: Channels
    stds: Divisors
    min_short_side: int | None = None


def read_config(weights: Path, pins: Pins | None = None) -> Mapping[str, Any]:
    """The ``config.json`` beside the weights; empty when there is none.

    Raises:
        ManifestError: the file is not a JSON object, or not the pinned one.
    """
    directory = weights if weights.is_dir() else weights.parent
    path = directory / CONFIG_NAME
    try:
        content = path.read_bytes()
        if isinstance(pins, Mapping):  # a single digest covers only the weights file
            check_content(path, content, pin_of(CONFIG_NAME, pins, directory))
        config = json.loads(content)
    except FileNotFoundError as error:
        if isinstance(pins, Mapping) and CONFIG_NAME in pins:
            raise ManifestError(f"{path} is pinned and missing; restore the checkpoint's file") from error
        return {}
    except (OSError, ValueError) as error:
        raise ManifestError(f"{path} cannot be read as JSON ({error}); restore the checkpoint's file") from error
    if not isinstance(config, dict):
        raise ManifestError(f"{path} is not a JSON object; restore the checkpoint's file")
    return config


def agree(name: str, spec: BackboneSpec, weights: Path | None) -> Preprocessing:
    """Combine manifest and checkpoint for backbone ``name``; ``weights`` is its checkpoint, None for seeded weights.

    Raises:
        ManifestError: a value is missing, or the manifest and the checkpoint differ.
    """
    stated = spec.preprocessing.model_dump(exclude_none=True)
    recorded = _recorded(spec, weights) if weights else {}
    for field in RECORDED:
        _refuse_conflict(f"backbones.{name}.preprocessing.{field}", stated.get(field), recorded.get(field))
    return _complete(name, recorded | stated)


def _recorded(spec: BackboneSpec, weights: Path) -> dict[str, Any]:
    section = read_config(weights, spec.sha256).get("preprocessor")
    if section is None:
        return {}
    try:
        found = _Preprocessor.model_validate(section)
    except ValidationError as error:
        raise ManifestError(f"preprocessor in {spec.weights}/{CONFIG_NAME}: {error}; restore the file") from error
    return {
        "num_frames": found.num_timesteps,
        "size": found.input_size,
        "fit": Fit.CENTRE_CROP,  # as that library does in validation and prediction
        "shortest_edge": found.min_short_side,
        "mean": found.means,
        "std": found.stds,
    }


def _refuse_conflict(where: str, stated: object, recorded: object) -> None:
    if stated is not None and recorded is not None and stated != recorded:
        raise ManifestError(
            f"{where} = {stated}, but the checkpoint was trained with {recorded}; remove it from the manifest"
        )


def _complete(name: str, values: Mapping[str, Any]) -> Preprocessing:
    missing = [field for field in (*RECORDED, "fit") if values.get(field) is None]
    if missing:
        raise ManifestError(
            f"backbones.{name}.preprocessing lacks {', '.join(missing)}, and its checkpoint does not state them; "
            "state the values of its training"
        )
    size, fit = values["size"], Fit(values["fit"])
    shortest_edge = values.get("shortest_edge") if fit is Fit.CENTRE_CROP else None
    if shortest_edge is not None and shortest_edge < size:
        raise ManifestError(
            f"backbones.{name}.preprocessing.shortest_edge = {shortest_edge} is below size = {size}; raise it"
        )
    picture = PictureSpec(height=size, width=size, fit=fit, shortest_edge=shortest_edge)
    return Preprocessing(values["num_frames"], picture, tuple(values["mean"]), tuple(values["std"]))
