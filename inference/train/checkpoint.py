"""A trained head as a checkpoint directory: weights that a manifest names, and the model card beside them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from inference.decide import NORMAL
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
from inference.train.linear import LinearWeights


def write_head(
    directory: Path, clips: LabelledClips, fitted: FittedHead, options: FitOptions, origin: Provenance
) -> dict[str, Any]:
    """Write ``model.safetensors``, ``config.json``, ``card.md``, ``card.json`` and two charts; return the card.

    The weights have the names of a whole classifier's head (``head.linear.weight``), so a manifest's head loads them,
    and so does any program that reads such classifiers.
    """
    tensors = head_tensors(fitted.head)
    values = card_values(clips, fitted, options, replace(origin, head_digest=tensors_digest(tensors)))
    save_checkpoint(directory, tensors, {"labels": list(clips.classes), "kind": "linear"})
    found = fitted.assessment
    for name, text in {
        "card.json": card_json(values),
        "card.md": card_text(values),
        "reliability.svg": reliability_chart(found.reliability),
        "grid.svg": grid_chart(fitted.grid),
    }.items():
        (directory / name).write_text(text, encoding="utf-8")
    return values


def head_tensors(head: LinearWeights) -> dict[str, torch.Tensor]:
    """Return the tensors of a linear head, float32."""
    return {
        f"{Part.HEAD}linear.weight": torch.tensor(head.weight, dtype=torch.float32),
        f"{Part.HEAD}linear.bias": torch.tensor(head.bias, dtype=torch.float32),
    }


def manifest_entry(name: str, directory: Path, values: Mapping[str, Any]) -> str:
    """Return the lines of a manifest that make the head a filter with its threshold."""
    labels = ", ".join(f'"{label}"' for label in values["data"]["labels"])
    backbone = str(values["encoder"]["model_type"]).partition(":")[2] or "…"
    lines = [
        f"[heads.{name}]",
        f'backbone = "{backbone}"',
        f"labels = [{labels}]",
        f'weights = "{directory}"',
        "[[filters]]",
        f'name = "{name}"',
        f'switch = "{name}_enable"',
        f'head = "{name}"',
        f'outputs = [{{ key = "{name}_filter", scope = "whole" }}]',
    ]
    if "max" in values["chosen"]:
        lines += [f"[thresholds.{name}_filter]", *_threshold(values["data"], values["chosen"]["max"])]
    return "\n".join(lines)


def _threshold(data: Mapping[str, Any], limit: float) -> list[str]:
    """Return the threshold on the probability of the labels to drop, as a manifest writes it."""
    good = data["good"]
    bad = [label for label in data["labels"] if label not in good]
    if all(label.startswith(NORMAL) for label in good):
        return [f"max = {limit:.6g}"]
    if len(bad) == 1:
        return [f'label = "{bad[0]}"', f"max = {limit:.6g}"]
    return [f'label = "{good[0]}"', f"min = {1 - limit:.6g}"]
