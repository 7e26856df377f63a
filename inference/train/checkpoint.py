"""A trained head as a checkpoint directory: weights that a manifest names, and the model card beside them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from inference.manifest.preprocessing import TRAINED_ON
from inference.models.checkpoint import Part, save_checkpoint, tensors_digest
from inference.train.card import (
    Provenance,
    card_json,
    card_text,
    card_values,
    grid_chart,
    reliability_chart,
)
from inference.train.data import LabelledClips
from inference.train.fit import FitOptions, FittedHead


def write_head(
    directory: Path, clips: LabelledClips, fitted: FittedHead, options: FitOptions, origin: Provenance
) -> dict[str, Any]:
    """Write ``model.safetensors``, ``config.json``, ``card.md``, ``card.json`` and two charts; return the card.

    The weights have the names of a whole classifier's head (``head.linear.weight``), so a manifest's head loads them,
    and so does any program that reads such classifiers.
    """
    tensors = {Part.HEAD + name: tensor for name, tensor in fitted.head.tensors().items()}
    values = card_values(clips, fitted, options, replace(origin, head_digest=tensors_digest(tensors)))
    config = {"labels": list(clips.classes), **fitted.head.fields(), TRAINED_ON: origin.trained_on.to_json()}
    save_checkpoint(directory, tensors, config)
    found = fitted.assessment
    for name, text in {
        "card.json": card_json(values),
        "card.md": card_text(values),
        "reliability.svg": reliability_chart(found.reliability),
        "grid.svg": grid_chart(fitted.grid),
    }.items():
        (directory / name).write_text(text, encoding="utf-8")
    return values
