"""The encoders there are, and the check of an operator's choice before anything is loaded. Loads no torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from inference.errors import ManifestError
from inference.manifest.fields import parse_seed
from inference.manifest.weights import Pins

MANIFEST, TORCHVISION = "manifest", "torchvision"


@dataclass(frozen=True, slots=True, kw_only=True)
class EncoderChoice:
    """An encoder as an operator names it."""

    model_type: str  # a family of Transformers, ``torchvision:NAME``, ``manifest`` or ``manifest:BACKBONE``
    checkpoint: str | None = None  # a path, or ``seed:NUMBER``; a manifest names its own
    sha256: Pins | None = None  # of a checkpoint that is a pickle

    @property
    def kind(self) -> str:
        """A family, ``torchvision`` or ``manifest``."""
        return self.model_type.partition(":")[0]

    @property
    def name(self) -> str:
        """The part after the colon; empty without one."""
        return self.model_type.partition(":")[2]


@dataclass(frozen=True, slots=True)
class ModelFamily:
    """A model type of Transformers: its classes, and the fields of its configuration that fix the input."""

    model: str  # class in transformers
    config: str  # its configuration class
    is_video: bool
    prefix_tokens: int  # class tokens; register tokens come on top
    frames_field: str = ""
    size_field: str = "image_size"


FAMILIES: Mapping[str, ModelFamily] = {
    "vjepa2": ModelFamily("VJEPA2Model", "VJEPA2Config", True, 0, "frames_per_clip", "crop_size"),
    "videomae": ModelFamily("VideoMAEModel", "VideoMAEConfig", True, 0, "num_frames"),
    "timesformer": ModelFamily("TimesformerModel", "TimesformerConfig", True, 1, "num_frames"),
    "vivit": ModelFamily("VivitModel", "VivitConfig", True, 1, "num_frames"),
    "dinov2": ModelFamily("Dinov2Model", "Dinov2Config", False, 1),
    "dinov2_with_registers": ModelFamily("Dinov2WithRegistersModel", "Dinov2WithRegistersConfig", False, 1),
    "clip": ModelFamily("CLIPVisionModel", "CLIPVisionConfig", False, 1),
    "siglip": ModelFamily("SiglipVisionModel", "SiglipVisionConfig", False, 0),
    "vit": ModelFamily("ViTModel", "ViTConfig", False, 1),
}


def check_choice(choice: EncoderChoice) -> tuple[int | None, Path | None]:
    """Return the seed or the path of the choice's weights; both are None for a manifest's backbone.

    Raises:
        ManifestError: the model type is unknown, or its checkpoint is not stated or not there.
    """
    if choice.kind == MANIFEST:
        if choice.checkpoint is not None:
            raise ManifestError(f"a manifest names its own weights; leave --ckpt_path {choice.checkpoint} out")
        return None, None
    if choice.model_type not in FAMILIES and choice.kind != TORCHVISION:
        raise ManifestError(
            f"model type {choice.model_type!r} is unknown; choose one of {', '.join(FAMILIES)}, "
            f"{TORCHVISION}:NAME, {MANIFEST} or {MANIFEST}:BACKBONE"
        )
    if choice.checkpoint is None:
        raise ManifestError(
            f"model type {choice.model_type} needs weights: give --ckpt_path PATH (or seed:1 for untrained weights)"
        )
    seed = parse_seed(choice.checkpoint)
    path = None if seed is not None else Path(choice.checkpoint)
    if path is not None and not path.exists():
        raise ManifestError(f"checkpoint {path} does not exist; correct --ckpt_path")
    return seed, path
