"""The manifest entry of a trained head: a filter that sees the frames, and pools the tokens, as its training did."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from inference.decide import NORMAL
from inference.errors import TrainingError
from inference.features.families import MANIFEST
from inference.features.plan import FeaturePlan, Pooling
from inference.manifest.preprocessing import Preprocessing
from inference.manifest.schema import BackboneSpec
from inference.types import Scope

HEAD_POOLINGS = (Pooling.ALL, Pooling.TOKENS)  # of which a manifest's head gets the same numbers


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainedOn:
    """The encoder and the plan of the features that a head was trained on."""

    model_type: str
    model_digest: str
    plan: FeaturePlan

    @property
    def backbone(self) -> str:
        """The manifest's name of the encoder."""
        return self.model_type.partition(":")[2]

    def check(self) -> None:
        """Raise TrainingError for features that no filter of a manifest can reproduce."""
        again = f"extract again: tamis features --model_type {MANIFEST}:BACKBONE --scope whole (or windows)"
        if self.model_type.partition(":")[0] != MANIFEST:
            raise TrainingError(
                f"the features are of {self.model_type}, which no manifest's filter can use: declare it as a backbone "
                f"of a manifest, then {again}"
            )
        if self.plan.scope is Scope.SLIDING:
            raise TrainingError(
                f"the features are of sliding clips ({self.plan.sampling}), which no manifest's filter sees; {again}"
            )
        if self.plan.pooling not in HEAD_POOLINGS:
            raise TrainingError(
                f"the features are pooled by {self.plan.pooling}, while a manifest's linear head takes the mean over "
                f"all tokens; {again}, without --pool"
            )

    def to_json(self) -> dict[str, Any]:
        """Return what a manifest must agree with, as JSON values: the backbone's weights and its input."""
        preprocessing: dict[str, Any] = json.loads(json.dumps(asdict(self.plan.preprocessing)))
        return {"backbone_digest": self.model_digest, "preprocessing": preprocessing}


def manifest_entry(name: str, directory: Path, trained_on: TrainedOn, values: Mapping[str, Any]) -> str:
    """Return the lines of a manifest that make the head a filter with its threshold; ``values`` are the card's."""
    labels = ", ".join(f'"{label}"' for label in values["data"]["labels"])
    lines = [
        f"[heads.{name}]",
        f'backbone = "{trained_on.backbone}"',
        f"labels = [{labels}]",
        f'weights = "{directory}"',
        *(f"{field} = {json.dumps(value)}" for field, value in values["head"].items() if value != "linear"),
        "[[filters]]",
        f'name = "{name}"',
        f'switch = "{name}_enable"',
        f'head = "{name}"',
        f'outputs = [{{ key = "{name}_filter", {_scope(trained_on.plan)} }}]',
    ]
    if "max" in values["chosen"]:
        lines += [f"[thresholds.{name}_filter]", *_threshold(values["data"], values["chosen"]["max"])]
    return "\n".join(lines)


def backbone_entry(name: str, weights: Path, spec: BackboneSpec, clip: Preprocessing) -> str:
    """Return the lines of a manifest for a backbone of ``spec``'s architecture with weights of its own."""
    picture = clip.picture
    edge = [f"shortest_edge = {picture.shortest_edge}"] if picture.shortest_edge is not None else []
    return "\n".join(
        [
            f"[backbones.{name}]",
            f'family = "{spec.family}"',
            f'weights = "{weights}"',
            f'dtype = "{spec.dtype}"',
            f"config = {_toml(spec.config)}",
            f"[backbones.{name}.preprocessing]",
            f"num_frames = {clip.num_frames}",
            f"size = {picture.height}",
            f'fit = "{picture.fit}"',
            *edge,
            f"mean = {list(clip.mean)}",
            f"std = {list(clip.std)}",
        ]
    )


def _toml(value: Any) -> str:
    """Return a value of a manifest as TOML; of a table the inline form."""
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{json.dumps(key)} = {_toml(one)}" for key, one in value.items()) + " }"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(_toml(one) for one in value) + "]"
    return json.dumps(value)


def _scope(plan: FeaturePlan) -> str:
    if plan.scope is Scope.WINDOWS:
        windows = f"window_seconds = {float(plan.window_seconds)}, overlap_seconds = {float(plan.overlap_seconds)}"
        return f'scope = "{plan.scope}", {windows}'
    return f'scope = "{plan.scope}"'


def _threshold(data: Mapping[str, Any], limit: float) -> list[str]:
    """Return the threshold on the probability of the labels to drop, as a manifest writes it."""
    good = data["good"]
    bad = [label for label in data["labels"] if label not in good]
    if all(label.startswith(NORMAL) for label in good):
        return [f"max = {limit:.6g}"]
    if len(bad) == 1:
        return [f'label = "{bad[0]}"', f"max = {limit:.6g}"]
    return [f'label = "{good[0]}"', f"min = {1 - limit:.6g}"]
