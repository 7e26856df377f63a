"""Open a model by its name: any of torchvision, a vision model of Transformers, or a filter of a manifest."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from inference.errors import ProfilingError
from inference.profiling.steps.preparation import IMAGENET_MEAN, IMAGENET_STD

CLIP_FRAMES = 16  # what torchvision's video models were trained with
DETECTION_SIZE, SEGMENTATION_SIZE, FLOW_SIZE, TRANSFORMERS_SIZE = 640, 520, 256, 224  # pixels, where a model names none
ABSENT_WEIGHTS = "give a file, or --weights none for random ones"

Arrange = Callable[[Tensor], Any]
"""Prepared frames ``(samples x frames of a sample, 3, H, W)`` -> the positional arguments of the module."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProfiledModel:
    """A model on the CPU, in eval mode, with what a profile needs to know of its inputs and outputs."""

    name: str
    module: nn.Module
    size: int  # pixels of a side of a prepared frame
    frames_per_sample: int = 1
    mean: Sequence[float] = IMAGENET_MEAN
    std: Sequence[float] = IMAGENET_STD
    arrange: Arrange = lambda frames: (frames,)
    is_classifier: bool = True

    def logits(self, output: Any) -> Tensor:
        """The class scores ``(samples, classes)`` of the module's output."""
        found = getattr(output, "logits", output)
        if not isinstance(found, Tensor):
            raise ProfilingError(f"{self.name} gives no class scores: --mode retrain takes classifiers")
        return found


def open_model(name: str, weights: str = "none", manifest: str = "tiny") -> ProfiledModel:
    """Open the model called ``name``; with ``weights`` "none" its values are random and no network is used.

    Raises:
        ProfilingError: the name is unknown, or the weights cannot be had.
        ManifestError: the manifest or one of its checkpoints is wrong.
    """
    from torchvision.models import list_models
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING

    from inference.manifest import load_manifest

    if name in list_models():
        opened = _open_torchvision(name, weights)
    elif any(one.name == name for one in load_manifest(manifest).filters):
        opened = _open_filter(name, manifest)
    elif "/" in name or Path(name).is_dir() or name in CONFIG_MAPPING:
        opened = _open_transformers(name, weights)
    else:
        filters = ", ".join(one.name for one in load_manifest(manifest).filters)
        raise ProfilingError(
            f"model {name!r} is unknown: give a name of torchvision.models.list_models(), a type (vit), "
            f"directory or hub id of Transformers, or a filter of manifest {manifest} ({filters})"
        )
    opened.module.eval()
    return opened


# ── torchvision ──────────────────────────────────────────────────────────────────────────────────────────────────────


def _open_torchvision(name: str, weights: str) -> ProfiledModel:
    from torchvision.models import get_model, get_model_builder, get_model_weights

    preset = list(get_model_weights(name))[-1].transforms()
    family = get_model_builder(name).__module__.removeprefix("torchvision.models.").split(".")[0]
    options: dict[str, Any] = {"weights": "DEFAULT" if weights == "default" else None}
    if family in {"detection", "segmentation"}:
        options["weights_backbone"] = None
    if options["weights"] is None and family in {"googlenet", "inception"}:
        options["init_weights"] = True
    module = _fetch(lambda: get_model(name, **options), name)
    if weights not in {"default", "none"}:
        _load_file(module, weights)
    return _shaped(name, family, module, preset)


def _shaped(name: str, family: str, module: nn.Module, preset: Any) -> ProfiledModel:
    if family == "detection":
        size = 320 if "320" in name else DETECTION_SIZE
        return ProfiledModel(
            name=name, module=module, size=size, arrange=lambda frames: (list(frames),), is_classifier=False
        )
    if family == "segmentation":
        return ProfiledModel(name=name, module=module, size=SEGMENTATION_SIZE, is_classifier=False)
    if family == "optical_flow":
        return ProfiledModel(
            name=name, module=module, size=FLOW_SIZE, frames_per_sample=2, arrange=_pairs, is_classifier=False
        )
    plain = ProfiledModel(name=name, module=module, size=min(preset.crop_size), mean=preset.mean, std=preset.std)
    if family == "video":
        return replace(plain, frames_per_sample=CLIP_FRAMES, arrange=_clips(CLIP_FRAMES, is_channels_first=True))
    return plain


def _pairs(frames: Tensor) -> tuple[Tensor, Tensor]:
    return frames[0::2], frames[1::2]


def _clips(num_frames: int, *, is_channels_first: bool) -> Arrange:
    def arrange(frames: Tensor) -> tuple[Tensor]:
        clips = frames.reshape(-1, num_frames, *frames.shape[1:])
        return (clips.transpose(1, 2) if is_channels_first else clips,)

    return arrange


def _load_file(module: nn.Module, path: str) -> None:
    if not Path(path).is_file():
        raise ProfilingError(f"weights {path!r}: there is no such file; {ABSENT_WEIGHTS}")
    tensors = torch.load(path, map_location="cpu", weights_only=True)
    try:
        module.load_state_dict(tensors)
    except RuntimeError as error:
        raise ProfilingError(f"weights {path!r} are of another model: {str(error).splitlines()[1].strip()}") from error


# ── Transformers ─────────────────────────────────────────────────────────────────────────────────────────────────────


def _open_transformers(name: str, weights: str) -> ProfiledModel:
    from transformers import AutoConfig, AutoModelForImageClassification, AutoModelForVideoClassification
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING
    from transformers.models.auto.modeling_auto import (
        MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING,
        MODEL_FOR_VIDEO_CLASSIFICATION_MAPPING,
    )

    is_type = name in CONFIG_MAPPING and not Path(name).is_dir()
    config = AutoConfig.for_model(name) if is_type else _fetch(lambda: AutoConfig.from_pretrained(name), name)
    is_video = type(config) in MODEL_FOR_VIDEO_CLASSIFICATION_MAPPING
    if not is_video and type(config) not in MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING:
        raise ProfilingError(f"{name} ({config.model_type}) classifies neither pictures nor clips: give one that does")
    auto = AutoModelForVideoClassification if is_video else AutoModelForImageClassification
    if weights == "none":
        module = auto.from_config(config)
    elif is_type:
        raise ProfilingError(
            f"{name} is a type without weights of its own: give a directory or hub id, or --weights none"
        )
    else:
        source = name if weights == "default" else weights
        module = _fetch(lambda: auto.from_pretrained(source, config=config), source)
    size = getattr(config, "image_size", None) or getattr(config, "crop_size", None) or TRANSFORMERS_SIZE
    frames = getattr(config, "num_frames", None) or getattr(config, "frames_per_clip", None) or CLIP_FRAMES
    return ProfiledModel(
        name=name,
        module=module,
        size=size if isinstance(size, int) else min(size),
        frames_per_sample=frames if is_video else 1,
        arrange=_clips(frames, is_channels_first=False) if is_video else lambda pictures: (pictures,),
    )


def _fetch(load: Callable[[], Any], name: str) -> Any:
    """Load what may come over the network; a hub that does not answer is the operator's to know of."""
    try:
        return load()
    except OSError as error:  # urllib's and the Hugging Face hub's errors are OSErrors
        raise ProfilingError(
            f"weights of {name} cannot be fetched ({str(error).splitlines()[0]}): {ABSENT_WEIGHTS}"
        ) from error


# ── filters of a manifest ────────────────────────────────────────────────────────────────────────────────────────────


class _FilterModel(nn.Module):
    """One filter's backbone and head. Takes normalised clips ``(B, T, 3, H, W)``, gives class scores."""

    def __init__(self, backbone: nn.Module, head: nn.Module) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = head

    def forward(self, clips: Tensor) -> Tensor:
        """Class scores ``(B, labels)``."""
        scores: Tensor = self.head(self.backbone(clips))
        return scores


def _open_filter(name: str, manifest_name: str) -> ProfiledModel:
    from inference.manifest import load_manifest
    from inference.models.build import open_models

    manifest = load_manifest(manifest_name)
    head = manifest.spec.head_of.get(name)
    if head is None:
        raise ProfilingError(f"filter {name} reads signals, which no model computes: profile a filter with a head")
    models = open_models(manifest, device="cpu")
    models.close()  # only its threads: the modules stay
    engine = next(one for one in models.engines if head in one.heads)
    preprocessing = engine.preprocessing
    module = _FilterModel(engine.model.backbone, engine.model.heads[engine.heads.index(head)])
    return ProfiledModel(
        name=name,
        module=module,
        size=min(preprocessing.picture.height, preprocessing.picture.width),
        frames_per_sample=preprocessing.num_frames,
        mean=preprocessing.mean,
        std=preprocessing.std,
        arrange=_clips(preprocessing.num_frames, is_channels_first=False),
    )
