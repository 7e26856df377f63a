"""Encoders of Transformers from a local checkpoint directory, or with seeded weights. The network is never used."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import transformers
from huggingface_hub.errors import StrictDataclassError
from safetensors import SafetensorError
from transformers.utils import logging as transformers_logging

from inference.errors import ManifestError
from inference.features.encoder import Encoder, FrameTokens, VideoTokens
from inference.features.families import FAMILIES, ModelFamily
from inference.manifest.preprocessing import Preprocessing
from inference.models.checkpoint import fill_from_seed, tensors_digest
from inference.models.networks.backbone import Backbone
from inference.models.networks.rope import cache_rope
from inference.types import Fit, PictureSpec

logger = logging.getLogger(__name__)

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
PREPROCESSOR_FILES = ("video_preprocessor_config.json", "preprocessor_config.json")
DEFAULT_FRAMES = 16


def open_transformers_encoder(model_type: str, checkpoint: Path | None, seed: int | None) -> Encoder:
    """Open a family's encoder from ``checkpoint``, or with the family's default size and seeded weights.

    Raises:
        ManifestError: the checkpoint is of another family, incomplete or damaged.
    """
    family = FAMILIES[model_type]
    model = _seeded(family, seed or 0) if checkpoint is None else _loaded(model_type, family, checkpoint)
    prefix_tokens = family.prefix_tokens + int(getattr(model.config, "num_register_tokens", 0) or 0)
    preprocessing = _preprocessing(family, model.config, checkpoint)
    is_vjepa2 = model_type == "vjepa2"
    if is_vjepa2:
        del model.predictor  # used in training alone
        cache_rope(model, model_type)
    backbone = Backbone(model, skips_predictor=is_vjepa2)
    network = VideoTokens(backbone) if family.is_video else FrameTokens(backbone)
    return Encoder(
        model_type=model_type,
        network=network.eval(),
        prefix_tokens=prefix_tokens,
        preprocessing=preprocessing,
        digest=tensors_digest(model.state_dict()),
        is_untrained=checkpoint is None,
    )


def _seeded(family: ModelFamily, seed: int) -> Any:
    model = getattr(transformers, family.model)(getattr(transformers, family.config)())
    fill_from_seed(model, seed)
    return model


def _loaded(model_type: str, family: ModelFamily, checkpoint: Path) -> Any:
    _check_model_type(model_type, checkpoint)
    transformers_logging.set_verbosity_error()  # what is missing or left over is checked and told below
    try:
        model, report = getattr(transformers, family.model).from_pretrained(
            checkpoint, local_files_only=True, use_safetensors=True, output_loading_info=True
        )
    except (OSError, ValueError, RuntimeError, SafetensorError, StrictDataclassError) as error:
        raise ManifestError(
            f"checkpoint {checkpoint} cannot be loaded as {model_type} ({_first_line(error)}); "
            "give a directory with config.json and model.safetensors"
        ) from error
    wrong = [*report["missing_keys"], *report["mismatched_keys"]]
    lacking = sorted(str(key) for key in wrong if "pooler" not in str(key))  # the pooler's output is not read
    if lacking:
        raise ManifestError(
            f"checkpoint {checkpoint} lacks {len(lacking)} tensors of {model_type} ({', '.join(lacking[:3])}, …); "
            "it has another architecture, or its config.json is another model's"
        )
    if report["unexpected_keys"]:
        logger.info("%s: %d tensors are not the encoder's and are left out", checkpoint, len(report["unexpected_keys"]))
    return model


def _check_model_type(model_type: str, checkpoint: Path) -> None:
    stated = _json(checkpoint / "config.json").get("model_type")
    if stated is None:
        raise ManifestError(f"checkpoint {checkpoint} has no config.json with a model_type; give its directory")
    if stated.removesuffix("_vision_model") != model_type:
        raise ManifestError(f"checkpoint {checkpoint} is a {stated}, not a {model_type}; give --model_type {stated}")


def _preprocessing(family: ModelFamily, config: Any, checkpoint: Path | None) -> Preprocessing:
    """Read frames and size from the configuration, the rest from the checkpoint's preprocessor, else ImageNet's."""
    recorded: dict[str, Any] = {}
    if checkpoint is not None:
        recorded = next(filter(None, (_json(checkpoint / name) for name in PREPROCESSOR_FILES)), {})
    size = int(getattr(config, family.size_field))
    stated = recorded.get("size")
    shortest_edge = int(stated.get("shortest_edge") or size) if isinstance(stated, dict) else size
    picture = PictureSpec(size, size, Fit.CENTRE_CROP, max(size, shortest_edge))
    frames = int(getattr(config, family.frames_field)) if family.frames_field else DEFAULT_FRAMES
    mean, std = recorded.get("image_mean", IMAGENET_MEAN), recorded.get("image_std", IMAGENET_STD)
    return Preprocessing(frames, picture, _channels(mean), _channels(std))


def _channels(values: Sequence[float]) -> tuple[float, float, float]:
    red, green, blue = map(float, values)
    return red, green, blue


def _json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise ManifestError(f"{path} cannot be read as JSON ({error}); restore the checkpoint's file") from error
    return content if isinstance(content, dict) else {}


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:300]
